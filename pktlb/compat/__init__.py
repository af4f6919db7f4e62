"""The words and files of other balancers: ipvsadm and keepalived."""
