/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the binding share: the Plane, and what each of them adds to the module. */
#ifndef PK_MODULE_H
#define PK_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "plane.h"

struct loaded;

typedef struct {
	PyObject_HEAD
	struct pk_plane plane;
	struct pk_worker *worker; /* of the threads that call `handle` */
	struct loaded *loaded;    /* the tables in use, then those that may still be read */
	int ready;
} PlaneObject;

/* Adds what Python checks at import; 0, or an exception is set. */
int pk_module_contract(PyObject *module);

PyObject *pk_module_kill(PyObject *object, PyObject *args);
PyObject *pk_module_save(PyObject *object, PyObject *unused);
PyObject *pk_module_tally(PyObject *object, PyObject *args);
PyObject *pk_module_picks(PyObject *object, PyObject *args);
PyObject *pk_module_expect(PyObject *object, PyObject *args);
PyObject *pk_module_load(PyObject *object, PyObject *args, PyObject *kwargs);

#endif
