/* SPDX-License-Identifier: BSD-3-Clause */
/* What Python sees of the plane: arguments in, results out, no decisions. Limited API of 3.11. */
#include "module.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "raw_tables.h"
#include "single.h"

#define MAX_SLOTS 65536 /* arrays of slots in one set of tables */

/* Tables, and the buffers of Python's that they point into. */
struct loaded {
	struct pk_tables *tables;
	Py_buffer *buffers;
	__u32 buffer_count;
	struct loaded *next; /* an older one, waiting for its last reader */
};

static void release(struct loaded *loaded)
{
	pk_tables_free(loaded->tables);
	for (__u32 i = 0; i < loaded->buffer_count; i++)
		PyBuffer_Release(&loaded->buffers[i]);
	PyMem_Free(loaded->buffers);
	PyMem_Free(loaded);
}

/* Frees old tables that no worker reads any more. */
static void collect(PlaneObject *self)
{
	struct loaded **at = &self->loaded->next, *old;

	while ((old = *at)) {
		if (pk_tables_in_use(&self->plane, old->tables)) {
			at = &old->next;
		} else {
			*at = old->next;
			release(old);
		}
	}
}

static void dealloc(PyObject *object)
{
	PlaneObject *self = (PlaneObject *)object;
	PyTypeObject *type = Py_TYPE(object);
	struct loaded *next;

	if (self->worker)
		pk_worker_remove(&self->plane, self->worker);
	if (self->ready)
		pk_plane_free(&self->plane);
	for (; self->loaded; self->loaded = next) {
		next = self->loaded->next;
		release(self->loaded);
	}
	((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
	Py_DECREF(type);
}

struct given { /* bytes, as PyArg_ParseTuple's y# gives them */
	const char *data;
	Py_ssize_t bytes;
};

static int init(PyObject *object, PyObject *args, PyObject *kwargs)
{
	PlaneObject *self = (PlaneObject *)object;
	struct pk_limits limits = { 0 };
	static char *names[] = { "max_flows", "timeouts", "snat", "snat_ipv4", "source_ports",
				 "secret", NULL };
	struct given timeouts, snat, ports, key;
	struct pk_secret secret;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Iy#y#Iy#y#", names, &limits.max_flows,
					 &timeouts.data, &timeouts.bytes, &snat.data, &snat.bytes,
					 limits.snat_count, &ports.data, &ports.bytes, &key.data,
					 &key.bytes))
		return -1;
	limits.snat_count[1] = (__u32)((size_t)snat.bytes / sizeof(*limits.snat)) - limits.snat_count[0];
	if (self->ready || !limits.max_flows || limits.max_flows >= 1u << 30 ||
	    timeouts.bytes != sizeof(limits.timeouts) || key.bytes != sizeof(secret) ||
	    limits.snat_count[0] > (size_t)snat.bytes / sizeof(*limits.snat)) {
		PyErr_SetString(PyExc_ValueError, "a limit is out of bounds");
		return -1;
	}
	memcpy(limits.timeouts, timeouts.data, sizeof(limits.timeouts));
	memcpy(&secret, key.data, sizeof(secret));
	limits.snat = (const void *)snat.data;
	limits.source_ports = (const void *)ports.data;
	limits.source_port_count = (__u32)((size_t)ports.bytes / sizeof(*limits.source_ports));
	self->ready = 1;
	if (!pk_plane_init(&self->plane, &limits, &secret) &&
	    (self->worker = pk_worker_add(&self->plane, 0, 1)))
		return 0;
	PyErr_NoMemory();
	return -1;
}

#define PART_SIZE(type, name) sizeof(type),
static const size_t part_size[] = { PK_PARTS(PART_SIZE) };

/* The buffers of a tuple's items, in `loaded`; -1 with an exception set. */
static int take_slots(PyObject *slots, struct loaded *loaded, struct pk_array *arrays)
{
	Py_ssize_t count = PyTuple_Size(slots);

	for (Py_ssize_t i = 0; i < count; i++) {
		if (PyObject_GetBuffer(PyTuple_GetItem(slots, i), &loaded->buffers[i], PyBUF_SIMPLE))
			return -1;
		loaded->buffer_count++;
		arrays[i] = (struct pk_array){ loaded->buffers[i].buf,
					       (size_t)loaded->buffers[i].len };
	}
	return 0;
}

/* The parts of the tables, whole records each; -1 with an exception set. */
static int take_parts(PyObject *parts, struct pk_array *arrays)
{
	Py_ssize_t bytes;
	char *data;

	for (int i = 0; i < PK_PART_COUNT; i++) {
		if (PyTuple_Size(parts) != PK_PART_COUNT ||
		    PyBytes_AsStringAndSize(PyTuple_GetItem(parts, i), &data, &bytes) ||
		    (size_t)bytes % part_size[i]) {
			PyErr_SetString(PyExc_ValueError, "a part is not made of whole records");
			return -1;
		}
		arrays[i] = (struct pk_array){ data, (size_t)bytes };
	}
	return 0;
}

static int load(PlaneObject *self, struct loaded *loaded, PyObject *slots,
		struct pk_source *source)
{
	Py_ssize_t count = PyTuple_Size(slots);
	struct pk_array *arrays;
	const char *wrong;

	arrays = PyMem_Calloc((size_t)count + 1, sizeof(*arrays));
	loaded->buffers = PyMem_Calloc((size_t)count + 1, sizeof(Py_buffer));
	if (count > MAX_SLOTS) {
		PyErr_SetString(PyExc_ValueError, "too many slots");
	} else if (!arrays || !loaded->buffers) {
		PyErr_NoMemory();
	} else if (!take_slots(slots, loaded, arrays)) {
		source->slots = arrays;
		source->slots_count = (__u32)count;
		loaded->tables = pk_tables_load(&self->plane, source, &wrong);
		if (!loaded->tables)
			wrong ? PyErr_SetString(PyExc_ValueError, wrong) : (void)PyErr_NoMemory();
	}
	PyMem_Free(arrays);
	return loaded->tables ? 0 : -1;
}

static PyObject *swap(PyObject *object, PyObject *args, PyObject *kwargs)
{
	static char *names[] = { "parts", "slots", "tally_count", "own_low", "own_high", NULL };
	PlaneObject *self = (PlaneObject *)object;
	struct pk_source source = { 0 };
	struct loaded *loaded;
	PyObject *parts, *slots;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!III", names, &PyTuple_Type, &parts,
					 &PyTuple_Type, &slots, &source.tally_count,
					 &source.own_low, &source.own_high) ||
	    take_parts(parts, &source.services))
		return NULL;
	loaded = PyMem_Calloc(1, sizeof(*loaded));
	if (!loaded)
		return PyErr_NoMemory();
	if (load(self, loaded, slots, &source)) {
		release(loaded);
		return NULL;
	}
	pk_plane_swap(&self->plane, loaded->tables);
	loaded->next = self->loaded;
	self->loaded = loaded;
	collect(self);
	return Py_NewRef(Py_None);
}

static PyObject *handle(PyObject *object, PyObject *args)
{
	PlaneObject *self = (PlaneObject *)object;
	struct pk_frame frame = { 0 };
	struct pk_single single = { 0 };
	struct given offload;
	unsigned int now;
	Py_buffer data;

	if (!PyArg_ParseTuple(args, "y*y#II", &data, &offload.data, &offload.bytes, &frame.port,
			      &now))
		return NULL;
	if (offload.bytes != sizeof(frame.offload) || data.len > 1 << 20 || !self->loaded) {
		PyErr_SetString(PyExc_ValueError, "not a frame");
	} else {
		frame.data = data.buf;
		frame.length = (__u32)data.len;
		memcpy(&frame.offload, offload.data, sizeof(frame.offload));
		if (pk_single_handle(&single, &self->plane, self->worker, &frame, now))
			PyErr_NoMemory();
	}
	PyBuffer_Release(&data);
	object = NULL;
	if (!PyErr_Occurred())
		object = Py_BuildValue("iy#", (int)single.reason,
				       single.sent ? (const char *)single.sent : "",
				       (Py_ssize_t)single.sent_length);
	free(single.sent);
	return object;
}

static PyObject *expire(PyObject *object, PyObject *args)
{
	PlaneObject *self = (PlaneObject *)object;
	unsigned int now, most;

	if (!PyArg_ParseTuple(args, "II", &now, &most))
		return NULL;
	if (self->loaded)
		collect(self);
	return PyLong_FromUnsignedLong(pk_plane_expire(&self->plane, now, most));
}

static PyObject *counts(PyObject *object, PyObject *unused)
{
	__u64 counted[PK_REASON_COUNT];
	PyObject *result = PyTuple_New(PK_REASON_COUNT);

	(void)unused;
	pk_plane_counts(&((PlaneObject *)object)->plane, counted);
	for (int i = 0; result && i < PK_REASON_COUNT; i++)
		PyTuple_SetItem(result, i, PyLong_FromUnsignedLongLong(counted[i]));
	return result;
}

static PyObject *sizes(PyObject *object, PyObject *unused)
{
	const struct pk_plane *plane = &((PlaneObject *)object)->plane;

	(void)unused;
	return Py_BuildValue("II", __atomic_load_n(&plane->flows.count, __ATOMIC_RELAXED),
			     __atomic_load_n(&plane->pins.count, __ATOMIC_RELAXED));
}

static PyObject *flows(PyObject *object, PyObject *args)
{
	unsigned int first, count;
	struct pk_flow *copies;
	PyObject *result;
	int found;

	if (!PyArg_ParseTuple(args, "II", &first, &count))
		return NULL;
	copies = count > 1 << 16 ? NULL : PyMem_Malloc(count * sizeof(*copies) + 1);
	if (!copies)
		return PyErr_NoMemory();
	found = pk_plane_flows(&((PlaneObject *)object)->plane, first, count, copies);
	result = found < 0 ? Py_NewRef(Py_None) :
			     PyBytes_FromStringAndSize((const char *)copies,
						       found * (Py_ssize_t)sizeof(*copies));
	PyMem_Free(copies);
	return result;
}

static PyObject *tallies(PyObject *object, PyObject *args)
{
	unsigned int first, count;
	PyObject *result;

	if (!PyArg_ParseTuple(args, "II", &first, &count))
		return NULL;
	if (count > PK_MAX_TALLIES || first > PK_MAX_TALLIES - count) {
		PyErr_SetString(PyExc_ValueError, "there are not so many tallies");
		return NULL;
	}
	result = PyBytes_FromStringAndSize(NULL, count * (Py_ssize_t)sizeof(struct pk_told_tally));
	if (result)
		pk_plane_tallies(&((PlaneObject *)object)->plane, first, count,
				  (void *)PyBytes_AsString(result));
	return result;
}

/* The ports of `work`; -1 with an exception set. */
static int take_ports(const struct given *ports, struct pk_io *io)
{
	const struct pk_worker_port *given = (const void *)ports->data;
	size_t count = (size_t)ports->bytes / sizeof(*given);

	if (count > PK_MAX_PORTS || (size_t)ports->bytes % sizeof(*given)) {
		PyErr_SetString(PyExc_ValueError, "too many ports, or one cut off");
		return -1;
	}
	for (size_t i = 0; i < count; i++) {
		io->ports[i].index = given[i].ifindex;
		io->ports[i].fd = given[i].fd;
		io->ports[i].mtu = given[i].mtu;
	}
	io->port_count = (__u32)count;
	return 0;
}

static PyObject *work(PyObject *object, PyObject *args, PyObject *kwargs)
{
	static char *names[] = { "number", "of", "ports", "tun_fd", "wake_fd", "busy_us",
				 "shared", NULL };
	struct pk_io *io = PyMem_Calloc(1, sizeof(*io));
	unsigned int number, of;
	Py_buffer shared = { 0 };
	struct given ports;
	int error;

	if (!io)
		return PyErr_NoMemory();
	io->plane = &((PlaneObject *)object)->plane;
	if (PyArg_ParseTupleAndKeywords(args, kwargs, "IIy#iiIw*", names, &number, &of,
					&ports.data, &ports.bytes, &io->tun_fd, &io->wake_fd,
					&io->busy_us, &shared) &&
	    !take_ports(&ports, io)) {
		io->shared = shared.buf;
		if ((size_t)shared.len < PK_SHARED_BYTES(io->port_count)) {
			PyErr_SetString(PyExc_ValueError, "too little is shared");
		} else {
			Py_BEGIN_ALLOW_THREADS
			error = pk_io_work(io, number, of);
			Py_END_ALLOW_THREADS
			if ((errno = error))
				PyErr_SetFromErrno(PyExc_OSError);
		}
	}
	PyBuffer_Release(&shared);
	PyMem_Free(io);
	return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

#define NAMED(method) (PyCFunction)(void (*)(void))method
static PyMethodDef methods[] = { /* what they take and give: _core.pyi */
	{ "swap", NAMED(swap), METH_VARARGS | METH_KEYWORDS, NULL },
	{ "handle", handle, METH_VARARGS, NULL },
	{ "kill", pk_module_kill, METH_VARARGS, NULL },
	{ "expire", expire, METH_VARARGS, NULL },
	{ "counts", counts, METH_NOARGS, NULL },
	{ "sizes", sizes, METH_NOARGS, NULL },
	{ "flows", flows, METH_VARARGS, NULL },
	{ "tallies", tallies, METH_VARARGS, NULL },
	{ "work", NAMED(work), METH_VARARGS | METH_KEYWORDS, NULL },
	{ "save", pk_module_save, METH_NOARGS, NULL },
	{ "tally", pk_module_tally, METH_VARARGS, NULL },
	{ "picks", pk_module_picks, METH_VARARGS, NULL },
	{ "expect", pk_module_expect, METH_VARARGS, NULL },
	{ "load", NAMED(pk_module_load), METH_VARARGS | METH_KEYWORDS, NULL },
	{ 0 },
};

static PyType_Slot plane_slots[] = {
	{ Py_tp_init, init }, { Py_tp_dealloc, dealloc }, { Py_tp_methods, methods }, { 0 },
};

static PyType_Spec plane_spec = {
	.name = "pktlb.engine.native._core.Plane",
	.basicsize = sizeof(PlaneObject),
	.flags = Py_TPFLAGS_DEFAULT,
	.slots = plane_slots,
};

static int fill(PyObject *module)
{
	PyObject *type = PyType_FromSpec(&plane_spec);
	int failed;

	failed = !type || PyModule_AddObjectRef(module, "Plane", type) ||
		 PyModule_AddIntConstant(module, "MAX_PORTS", PK_MAX_PORTS) ||
		 pk_module_contract(module);
	Py_XDECREF(type);
	return failed ? -1 : 0;
}

static PyModuleDef_Slot module_slots[] = { { Py_mod_exec, fill }, { 0 } };

static struct PyModuleDef module_def = {
	PyModuleDef_HEAD_INIT,
	.m_name = "pktlb.engine.native._core",
	.m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__core(void)
{
	return PyModuleDef_Init(&module_def);
}
