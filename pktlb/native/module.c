/* SPDX-License-Identifier: BSD-3-Clause */
/* The one file that knows Python: arguments in, results out, no decisions. Limited API of 3.11. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stddef.h>
#include <string.h>

#include "engine.h"
#include "io.h"
#include "raw_tables.h"

#define MAX_SLOTS 65536 /* arrays of slots in one set of tables */

/* Tables, and the buffers of Python's that they point into. */
struct loaded {
	struct pk_tables *tables;
	Py_buffer *buffers;
	__u32 buffer_count;
	struct loaded *next; /* an older one, waiting for its last reader */
};

typedef struct {
	PyObject_HEAD
	struct pk_engine engine;
	struct pk_worker *worker; /* of those who call `handle` */
	struct loaded *loaded;    /* the tables in use, then those that may still be read */
	int ready;
} EngineObject;

static void release(struct loaded *loaded)
{
	__u32 i;

	pk_tables_free(loaded->tables);
	for (i = 0; i < loaded->buffer_count; i++)
		PyBuffer_Release(&loaded->buffers[i]);
	PyMem_Free(loaded->buffers);
	PyMem_Free(loaded);
}

/* Frees old tables that nobody reads any more. */
static void collect(EngineObject *self)
{
	struct loaded **at = &self->loaded->next, *old;

	while ((old = *at)) {
		if (pk_tables_in_use(&self->engine, old->tables)) {
			at = &old->next;
			continue;
		}
		*at = old->next;
		release(old);
	}
}

static void dealloc(PyObject *object)
{
	EngineObject *self = (EngineObject *)object;
	PyTypeObject *type = Py_TYPE(object);
	struct loaded *next;

	if (self->ready) {
		if (self->worker)
			pk_worker_remove(&self->engine, self->worker);
		pk_engine_free(&self->engine);
	}
	for (; self->loaded; self->loaded = next) {
		next = self->loaded->next;
		release(self->loaded);
	}
	((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
	Py_DECREF(type);
}

static int init(PyObject *object, PyObject *args, PyObject *kwargs)
{
	EngineObject *self = (EngineObject *)object;
	struct pk_limits limits = { 0 };
	struct pk_secret secret;
	Py_buffer timeouts, snat, ports, key;
	int failed;

	if (kwargs && PyDict_Size(kwargs)) {
		PyErr_SetString(PyExc_TypeError, "no keyword arguments are taken");
		return -1;
	}
	if (self->ready) {
		PyErr_SetString(PyExc_RuntimeError, "an engine is made once");
		return -1;
	}
	if (!PyArg_ParseTuple(args, "Iy*y*y*y*", &limits.max_flows, &timeouts, &snat, &ports, &key))
		return -1;
	failed = !limits.max_flows || limits.max_flows >= 1u << 30 ||
		 timeouts.len != sizeof(limits.timeouts) || key.len != sizeof(secret);
	if (failed) {
		PyErr_SetString(PyExc_ValueError, "a limit is out of bounds");
	} else {
		memcpy(limits.timeouts, timeouts.buf, sizeof(limits.timeouts));
		memcpy(&secret, key.buf, sizeof(secret));
		limits.snat = snat.buf;
		limits.snat_count = (__u32)(snat.len / 16);
		limits.source_ports = ports.buf;
		limits.source_port_count = (__u32)(ports.len / 2);
		self->ready = 1;
		failed = pk_engine_init(&self->engine, &limits, &secret) ||
			 !(self->worker = pk_worker_add(&self->engine, 0, 1));
		if (failed)
			PyErr_NoMemory();
	}
	PyBuffer_Release(&timeouts);
	PyBuffer_Release(&snat);
	PyBuffer_Release(&ports);
	PyBuffer_Release(&key);
	return failed ? -1 : 0;
}

enum part { /* of the tables, in the order in which `swap` takes them */
	SERVICES, PLACES, TALLIES, STANDINGS, REPLIES, OWN, SNAT, HOPS, PORTS, HASH_KEY, PARTS
};

static const size_t part_size[PARTS] = {
	sizeof(struct pk_raw_service), sizeof(struct pk_place), sizeof(struct pk_raw_tally),
	sizeof(__u32), sizeof(struct pk_raw_end), sizeof(struct pk_raw_end),
	sizeof(struct pk_raw_end), sizeof(struct pk_raw_hop), sizeof(struct pk_raw_port), 16,
};

/* The buffers of a tuple's items, in `loaded`; -1 with an exception set. */
static int take_slots(PyObject *slots, struct loaded *loaded, struct pk_array *arrays)
{
	Py_ssize_t count = PyTuple_Size(slots), i;

	for (i = 0; i < count; i++) {
		if (PyObject_GetBuffer(PyTuple_GetItem(slots, i), &loaded->buffers[i], PyBUF_SIMPLE))
			return -1;
		loaded->buffer_count++;
		arrays[i] = (struct pk_array){ loaded->buffers[i].buf,
					       (size_t)loaded->buffers[i].len };
	}
	return 0;
}

static int load(EngineObject *self, struct loaded *loaded, Py_buffer *parts, PyObject *slots,
		struct pk_source *source)
{
	Py_ssize_t count = PyTuple_Size(slots);
	struct pk_array *arrays, *part = &source->services;
	const char *wrong = NULL;
	int i;

	if (count < 0 || count > MAX_SLOTS)
		wrong = "too many slots";
	for (i = 0; i < PARTS && !wrong; i++) {
		if ((size_t)parts[i].len % part_size[i])
			wrong = "a part has not whole records";
		part[i] = (struct pk_array){ parts[i].buf, (size_t)parts[i].len };
	}
	if (wrong) {
		PyErr_SetString(PyExc_ValueError, wrong);
		return -1;
	}
	arrays = PyMem_Calloc((size_t)count + 1, sizeof(*arrays));
	loaded->buffers = PyMem_Calloc((size_t)count + 1, sizeof(Py_buffer));
	if (!arrays || !loaded->buffers) {
		PyErr_NoMemory();
	} else if (!take_slots(slots, loaded, arrays)) {
		source->slots = arrays;
		source->slots_count = (__u32)count;
		loaded->tables = pk_tables_load(&self->engine, source, &wrong);
		if (!loaded->tables)
			PyErr_SetString(PyExc_ValueError, wrong);
	}
	PyMem_Free(arrays);
	return loaded->tables ? 0 : -1;
}

PyDoc_STRVAR(swap_doc,
	     "swap(services, places, tallies, standings, replies, own, snat, hops, ports, hash_key, "
	     "slots, tally_count, own_low, own_high)\n\n"
	     "From the next batch of frames on, these tables: arrays of the records of raw_tables.h.");

static PyObject *swap(PyObject *object, PyObject *args)
{
	EngineObject *self = (EngineObject *)object;
	struct pk_source source = { 0 };
	struct loaded *loaded;
	Py_buffer p[PARTS];
	PyObject *slots;
	int i;

	if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*y*y*y*y*O!III", &p[0], &p[1], &p[2], &p[3], &p[4],
			      &p[5], &p[6], &p[7], &p[8], &p[9], &PyTuple_Type, &slots,
			      &source.tally_count, &source.own_low, &source.own_high))
		return NULL;
	loaded = PyMem_Calloc(1, sizeof(*loaded));
	if (!loaded) {
		PyErr_NoMemory();
	} else if (load(self, loaded, p, slots, &source)) {
		release(loaded);
	} else {
		pk_engine_swap(&self->engine, loaded->tables);
		loaded->next = self->loaded;
		self->loaded = loaded;
		collect(self);
	}
	for (i = 0; i < PARTS; i++)
		PyBuffer_Release(&p[i]);
	return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

/* What one call of `handle` collects. */
struct collector {
	struct pk_sink sink;
	PyObject *frames;
	enum pk_reason reason;
	int given_back;
};

static void collect_out(struct pk_sink *sink, const struct pk_out *out)
{
	struct collector *to = (struct collector *)sink;
	PyObject *data, *frame;
	char *bytes;

	data = PyBytes_FromStringAndSize(NULL, out->head_length + out->body_length);
	if (!data)
		return;
	bytes = PyBytes_AsString(data);
	if (out->head_length)
		memcpy(bytes, out->head, out->head_length);
	memcpy(bytes + out->head_length, out->body, out->body_length);
	frame = Py_BuildValue("INy#", out->port, data, (const char *)&out->offload,
			      (Py_ssize_t)sizeof(out->offload));
	if (frame)
		PyList_Append(to->frames, frame);
	Py_XDECREF(frame);
}

static void collect_given_back(struct pk_sink *sink, const struct pk_frame *frame)
{
	(void)frame;
	((struct collector *)sink)->given_back = 1;
}

static void collect_reason(struct pk_sink *sink, enum pk_reason reason)
{
	((struct collector *)sink)->reason = reason;
}

PyDoc_STRVAR(handle_doc,
	     "handle(data, offload, port, now_ms) -> (reason, given_back, frames)\n\n"
	     "What becomes of one frame: the number of its reason, whether the kernel must be given\n"
	     "it, and what goes out: (port, data, offload) each.");

static PyObject *handle(PyObject *object, PyObject *args)
{
	EngineObject *self = (EngineObject *)object;
	struct collector to = { { collect_out, collect_given_back, collect_reason }, NULL, 0, 0 };
	struct pk_frame frame = { 0 };
	Py_buffer data, offload;
	unsigned int now;
	__u8 *memory;

	if (!PyArg_ParseTuple(args, "y*y*II", &data, &offload, &frame.port, &now))
		return NULL;
	memory = PyMem_Malloc(PK_HEADROOM + (size_t)data.len);
	to.frames = PyList_New(0);
	if (!memory || !to.frames || !self->loaded) {
		PyErr_NoMemory();
	} else if (offload.len != sizeof(frame.offload) || data.len > 1 << 20) {
		PyErr_SetString(PyExc_ValueError, "not a frame");
	} else {
		frame.data = memory + PK_HEADROOM;
		frame.length = (__u32)data.len;
		memcpy(frame.data, data.buf, (size_t)data.len);
		memcpy(&frame.offload, offload.buf, sizeof(frame.offload));
		pk_engine_handle(&self->engine, self->worker, &frame, 1, now, &to.sink);
	}
	PyMem_Free(memory);
	PyBuffer_Release(&data);
	PyBuffer_Release(&offload);
	if (PyErr_Occurred()) {
		Py_XDECREF(to.frames);
		return NULL;
	}
	return Py_BuildValue("iiN", (int)to.reason, to.given_back, to.frames);
}

static PyObject *expire(PyObject *object, PyObject *args)
{
	EngineObject *self = (EngineObject *)object;
	unsigned int now, most;

	if (!PyArg_ParseTuple(args, "II", &now, &most))
		return NULL;
	if (self->loaded)
		collect(self);
	return PyLong_FromUnsignedLong(pk_engine_expire(&self->engine, now, most));
}

static PyObject *counts(PyObject *object, PyObject *unused)
{
	__u64 counted[PK_REASON_COUNT];
	PyObject *result = PyTuple_New(PK_REASON_COUNT);
	int i;

	(void)unused;
	pk_engine_counts(&((EngineObject *)object)->engine, counted);
	for (i = 0; result && i < PK_REASON_COUNT; i++)
		PyTuple_SetItem(result, i, PyLong_FromUnsignedLongLong(counted[i]));
	return result;
}

static PyObject *flow_count(PyObject *object, PyObject *unused)
{
	(void)unused;
	return PyLong_FromUnsignedLong(
		__atomic_load_n(&((EngineObject *)object)->engine.flows.count, __ATOMIC_RELAXED));
}

PyDoc_STRVAR(flows_doc,
	     "flows(first, count) -> bytes or None\n\n"
	     "The records (struct pk_flow) of those flows whose numbers are in this range; None where\n"
	     "there are no numbers so high.");

static PyObject *flows(PyObject *object, PyObject *args)
{
	struct pk_engine *engine = &((EngineObject *)object)->engine;
	unsigned int first, count, i;
	struct pk_flow *copies;
	PyObject *result = NULL;
	__u32 used = 0, beyond;

	if (!PyArg_ParseTuple(args, "II", &first, &count))
		return NULL;
	copies = count > 1 << 16 ? NULL : PyMem_Malloc(count * sizeof(*copies) + 1);
	if (!copies)
		return PyErr_NoMemory();
	pthread_mutex_lock(&engine->lock);
	beyond = first >= engine->flows.used;
	for (i = first; i < engine->flows.used && i - first < count; i++)
		if (engine->flows.flow[i].state != PK_STATE_COUNT)
			copies[used++] = engine->flows.flow[i];
	pthread_mutex_unlock(&engine->lock);
	result = beyond ? Py_NewRef(Py_None) :
			  PyBytes_FromStringAndSize((const char *)copies,
						    (Py_ssize_t)(used * sizeof(*copies)));
	PyMem_Free(copies);
	return result;
}

PyDoc_STRVAR(tallies_doc,
	     "tallies(count) -> bytes\n\n"
	     "Of the first so many tallies: active flows and flows (unsigned int each).");

static PyObject *tallies(PyObject *object, PyObject *arg)
{
	const struct pk_tally *tally = ((EngineObject *)object)->engine.standings.tallies;
	unsigned long count = PyLong_AsUnsignedLong(arg), i;
	PyObject *result;
	__u32 pair[2];
	char *to;

	if (PyErr_Occurred())
		return NULL;
	if (count > PK_MAX_TALLIES)
		count = PK_MAX_TALLIES;
	result = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(count * sizeof(pair)));
	for (to = result ? PyBytes_AsString(result) : NULL, i = 0; result && i < count; i++) {
		pair[0] = __atomic_load_n(&tally[i].active, __ATOMIC_RELAXED);
		pair[1] = __atomic_load_n(&tally[i].flows, __ATOMIC_RELAXED);
		memcpy(to + i * sizeof(pair), pair, sizeof(pair));
	}
	return result;
}

/* The ports of `work`; -1 with an exception set. */
static int take_ports(PyObject *ports, struct pk_io *io)
{
	Py_ssize_t count = PyTuple_Size(ports), i;

	if (count > PK_MAX_PORTS) {
		PyErr_SetString(PyExc_ValueError, "too many ports");
		return -1;
	}
	for (i = 0; i < count; i++)
		if (!PyArg_ParseTuple(PyTuple_GetItem(ports, i), "Ii", &io->ports[i].index,
				      &io->ports[i].fd))
			return -1;
	io->port_count = (__u32)count;
	return 0;
}

PyDoc_STRVAR(work_doc,
	     "work(number, of, ports, tun_fd, wake_fd, busy_us, shared)\n\n"
	     "Be one of so many workers until told to stop. Ports are (index, fd) each; `shared`, a\n"
	     "struct pk_shared, counts errors and says when to stop, after which `wake_fd` has to\n"
	     "become readable.");

static PyObject *work(PyObject *object, PyObject *args)
{
	EngineObject *self = (EngineObject *)object;
	struct pk_io *io = PyMem_Calloc(1, sizeof(*io));
	unsigned int number, of;
	Py_buffer shared;
	PyObject *ports;
	int ready = 0;

	if (!io)
		return PyErr_NoMemory();
	if (!PyArg_ParseTuple(args, "IIO!iiIw*", &number, &of, &PyTuple_Type, &ports, &io->tun_fd,
			      &io->wake_fd, &io->busy_us, &shared)) {
		PyMem_Free(io);
		return NULL;
	}
	io->engine = &self->engine;
	io->shared = shared.buf;
	if (take_ports(ports, io))
		; /* the exception is set */
	else if ((size_t)shared.len < sizeof(*io->shared) + io->port_count * sizeof(struct pk_errors))
		PyErr_SetString(PyExc_ValueError, "too little is shared");
	else if (!(io->worker = pk_worker_add(&self->engine, number, of)) || pk_io_init(io))
		PyErr_NoMemory();
	else
		ready = 1;
	if (ready) {
		Py_BEGIN_ALLOW_THREADS
		pk_io_run(io);
		Py_END_ALLOW_THREADS
	}
	pk_io_free(io);
	if (io->worker)
		pk_worker_remove(&self->engine, io->worker);
	PyBuffer_Release(&shared);
	PyMem_Free(io);
	return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef methods[] = {
	{ "swap", swap, METH_VARARGS, swap_doc },
	{ "handle", handle, METH_VARARGS, handle_doc },
	{ "expire", expire, METH_VARARGS, "expire(now_ms, most) -> number of flows forgotten" },
	{ "counts", counts, METH_NOARGS, "counts() -> frames by reason, in the order of REASONS" },
	{ "flow_count", flow_count, METH_NOARGS, "flow_count() -> number of flows" },
	{ "flows", flows, METH_VARARGS, flows_doc },
	{ "tallies", tallies, METH_O, tallies_doc },
	{ "work", work, METH_VARARGS, work_doc },
	{ 0 },
};

static PyType_Slot engine_slots[] = {
	{ Py_tp_doc, "Engine(max_flows, timeouts, snat, source_ports, secret): the native engine." },
	{ Py_tp_init, init },
	{ Py_tp_dealloc, dealloc },
	{ Py_tp_methods, methods },
	{ 0 },
};

static PyType_Spec engine_spec = {
	.name = "pktlb.native._core.Engine",
	.basicsize = sizeof(EngineObject),
	.flags = Py_TPFLAGS_DEFAULT,
	.slots = engine_slots,
};

static const char *const reason_names[] = {
#define PK_NAME(name) #name,
	PK_REASONS(PK_NAME)
#undef PK_NAME
};

static int fill(PyObject *module)
{
	size_t errors = sizeof(struct pk_errors) / sizeof(__u64);
	PyObject *type = PyType_FromSpec(&engine_spec), *reasons = PyTuple_New(PK_REASON_COUNT);
	int i;

	if (!type || !reasons)
		return -1;
	for (i = 0; i < PK_REASON_COUNT; i++)
		PyTuple_SetItem(reasons, i, PyUnicode_FromString(reason_names[i]));
	i = PyModule_AddObjectRef(module, "Engine", type) ||
	    PyModule_AddObjectRef(module, "REASONS", reasons) ||
	    PyModule_AddIntConstant(module, "ERRORS", (long)errors / 2) ||
	    PyModule_AddIntConstant(module, "MAX_WORKERS", PK_MAX_WORKERS - 1) ||
	    PyModule_AddIntConstant(module, "MAX_PORTS", PK_MAX_PORTS);
	Py_DECREF(type);
	Py_DECREF(reasons);
	return i ? -1 : 0;
}

static PyModuleDef_Slot module_slots[] = {
	{ Py_mod_exec, fill },
	{ 0 },
};

static struct PyModuleDef module_def = {
	PyModuleDef_HEAD_INIT,
	.m_name = "pktlb.native._core",
	.m_doc = "The native engine; pktlb.native.dataplane is its user.",
	.m_size = 0,
	.m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__core(void)
{
	return PyModuleDef_Init(&module_def);
}
