/* SPDX-License-Identifier: BSD-3-Clause */
/* The binding of dump.h, and of what ends flows: bytes in, bytes out. */
#include "module.h"

#include <string.h>

#include "dump.h"

PyObject *pk_module_save(PyObject *object, PyObject *unused)
{
	struct pk_plane *plane = &((PlaneObject *)object)->plane;
	Py_ssize_t flows = plane->flows.count, pins = plane->pins.count;
	PyObject *saved[2];
	int failed;

	(void)unused;
	saved[0] = PyBytes_FromStringAndSize(NULL, flows * (Py_ssize_t)sizeof(struct pk_flow));
	saved[1] = PyBytes_FromStringAndSize(NULL, pins * (Py_ssize_t)sizeof(struct pk_saved_pin));
	failed = !saved[0] || !saved[1] ||
		 pk_dump_save(plane, (void *)PyBytes_AsString(saved[0]),
			       (void *)PyBytes_AsString(saved[1]));
	if (!failed)
		return Py_BuildValue("NNI", saved[0], saved[1], plane->now);
	Py_XDECREF(saved[0]);
	Py_XDECREF(saved[1]);
	return PyErr_NoMemory();
}

/* What was counted of a tally. */
PyObject *pk_module_tally(PyObject *object, PyObject *args)
{
	struct pk_plane *plane = &((PlaneObject *)object)->plane;
	struct pk_saved_tally saved;
	unsigned int number;

	if (!PyArg_ParseTuple(args, "I", &number))
		return NULL;
	if (number >= PK_MAX_TALLIES) {
		PyErr_SetString(PyExc_ValueError, "there are not so many tallies");
		return NULL;
	}
	pk_dump_save_tally(plane, number, &saved);
	return PyBytes_FromStringAndSize((const char *)&saved, (Py_ssize_t)sizeof(saved));
}

/* How often a service has picked. */
PyObject *pk_module_picks(PyObject *object, PyObject *args)
{
	struct pk_plane *plane = &((PlaneObject *)object)->plane;
	unsigned int number;

	if (!PyArg_ParseTuple(args, "I", &number))
		return NULL;
	if (number >= PK_MAX_STANDINGS) {
		PyErr_SetString(PyExc_ValueError, "there are not so many standings");
		return NULL;
	}
	return PyLong_FromUnsignedLongLong(plane->standings.standings[number].picks);
}

/* Arrays of whole records, as many of the second as of the first where there are two; the numbers
 * in them are checked by what loads them. */
static int take(const Py_buffer *buffers, struct pk_saved *saved)
{
	static const size_t sizes[] = { sizeof(struct pk_flow), sizeof(struct pk_saved_pin),
					sizeof(struct pk_saved_tally), sizeof(*saved->picks),
					sizeof(*saved->tally_of), sizeof(*saved->standing_of),
					sizeof(*saved->counts) };
	size_t counts[7];

	for (int i = 0; i < 7; i++) {
		if ((size_t)buffers[i].len % sizes[i] || (size_t)buffers[i].len / sizes[i] > 1u << 30)
			return -1;
		counts[i] = (size_t)buffers[i].len / sizes[i];
	}
	saved->flows = buffers[0].buf;
	saved->pins = buffers[1].buf;
	saved->tallies = buffers[2].buf;
	saved->picks = buffers[3].buf;
	saved->tally_of = buffers[4].buf;
	saved->standing_of = buffers[5].buf;
	saved->counts = buffers[6].buf;
	saved->flow_count = (__u32)counts[0];
	saved->pin_count = (__u32)counts[1];
	saved->tally_count = (__u32)counts[2];
	saved->standing_count = (__u32)counts[3];
	return counts[2] == counts[4] && counts[3] == counts[5] && counts[6] == PK_REASON_COUNT ? 0 :
												  -1;
}

/* The numbers that this process has given to tallies and standings. */
static int is_known(const struct pk_saved *saved)
{
	__u32 i;

	for (i = 0; i < saved->tally_count; i++)
		if (saved->tally_of[i] != PK_ABSENT && saved->tally_of[i] >= PK_MAX_TALLIES)
			return 0;
	for (i = 0; i < saved->standing_count; i++)
		if (saved->standing_of[i] != PK_ABSENT && saved->standing_of[i] >= PK_MAX_STANDINGS)
			return 0;
	return 1;
}

PyObject *pk_module_expect(PyObject *object, PyObject *args)
{
	unsigned int count;

	if (!PyArg_ParseTuple(args, "I", &count))
		return NULL;
	pk_flows_expect(&((PlaneObject *)object)->plane.flows, count);
	return Py_NewRef(Py_None);
}

PyObject *pk_module_load(PyObject *object, PyObject *args, PyObject *kwargs)
{
	static char *names[] = { "flows", "pins", "tallies", "picks", "tally_of", "standing_of",
				 "counts", "then", "now", NULL };
	struct pk_saved saved = { .then = 0 };
	Py_buffer b[7] = { { .buf = NULL } };
	unsigned int now;
	int loaded = -1;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*y*y*y*y*y*y*II", names, &b[0], &b[1],
					 &b[2], &b[3], &b[4], &b[5], &b[6], &saved.then, &now))
		return NULL;
	if (take(b, &saved) || !is_known(&saved))
		PyErr_SetString(PyExc_ValueError, "not what a plane has saved");
	else if ((loaded = pk_dump_load(&((PlaneObject *)object)->plane, &saved, now)) < 0)
		PyErr_NoMemory();
	for (int i = 0; i < 7; i++)
		PyBuffer_Release(&b[i]);
	return loaded < 0 ? NULL : PyLong_FromLong(loaded);
}

PyObject *pk_module_kill(PyObject *object, PyObject *args)
{
	struct pk_plane *plane = &((PlaneObject *)object)->plane;
	struct pk_key *keys;
	Py_buffer given;
	__u32 found = 0;

	if (!PyArg_ParseTuple(args, "y*", &given))
		return NULL;
	keys = PyMem_Malloc((size_t)given.len + 1);
	if (!keys || (size_t)given.len % sizeof(*keys) || given.len > 1 << 26) {
		PyErr_SetString(PyExc_ValueError, "not so many whole keys");
	} else {
		memcpy(keys, given.buf, (size_t)given.len);
		Py_BEGIN_ALLOW_THREADS
		found = pk_plane_kill(plane, keys, (__u32)((size_t)given.len / sizeof(*keys)));
		Py_END_ALLOW_THREADS
	}
	PyMem_Free(keys);
	PyBuffer_Release(&given);
	return PyErr_Occurred() ? NULL : PyLong_FromUnsignedLong(found);
}
