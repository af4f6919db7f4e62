/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parser says about a frame: where things are, and the few values that every step needs.
 * */
#ifndef PK_VIEW_H
#define PK_VIEW_H

#include "header.h"

#define PK_IP 14 /* offset of the IP header: Ethernet without a tag */

enum pk_tcp_flags {
	PK_FIN = 0x01, PK_SYN = 0x02, PK_RST = 0x04, PK_PSH = 0x08, PK_ACK = 0x10, PK_CWR = 0x80
};

enum pk_kind {
	PK_WHOLE, /* a packet that tells its flow */
	PK_FIRST, /* a first fragment: tells its flow, but not all of the payload is here */
	PK_LATER, /* another fragment */
	PK_ERROR, /* an ICMP error that quotes a packet */
};

/* The packet that an ICMP error is about. Of IP in IP it is the packet inside; then the ends of the
 * packet around it are here too, which is of the family of the error itself. */
struct pk_quote {
	struct pk_addr outer_source, outer;
	__u32 end; /* offset behind what is quoted */
	__u16 ip, transport;
	__u8 outer_family; /* 0: it is not IP in IP */
};

/* Offsets in bytes. */
struct pk_view {
	struct pk_key key; /* of an error: that of the way back of the quoted packet; see pk_quote */
	__u32 end;         /* behind the IP packet: the rest of the frame is Ethernet padding */
	__u16 transport;   /* of what follows the IP header and its extensions */
	__u16 payload;     /* of what follows the TCP or UDP header */
	__u16 check;       /* of the checksum that covers the addresses; 0: there is none */
	__u8 ttl;
	__u8 tcp_flags; /* 0 but for TCP */
	__u8 dont_fragment;
	__u8 kind;
	union {
		struct pk_fragment fragment; /* PK_FIRST, PK_LATER */
		struct pk_quote quote;       /* PK_ERROR */
	};
};

/* Whether the ports in the key are those in the packet. */
static inline int pk_has_ports(const struct pk_view *view)
{
	return pk_is_ported(view->key.proto) && view->kind <= PK_FIRST;
}

/* The key of an ICMP error by its own addresses, not of the packet that it quotes. */
static inline void pk_address_key(const __u8 *data, struct pk_key *to)
{
	/* Not the family in the view's key: an error about a tunnel has that of the packet inside. */
	__u8 family = data[12] == 0x08 ? 4 : 6;
	const __u8 *ends = data + PK_IP + pk_ends_at(family);
	__u32 size = pk_size(family);

	*to = (struct pk_key){ .family = family, .proto = family == 4 ? PK_ICMP : PK_ICMPV6 };
	pk_read_addr(&to->source, ends, size);
	pk_read_addr(&to->destination, ends + size, size);
}

/* The key of the packets the other way. */
static inline void pk_reverse(const struct pk_key *key, struct pk_key *to)
{
	*to = (struct pk_key){ key->destination, key->source, key->dport, key->sport,
			       key->proto, key->family, 0 };
}

#endif
