/* SPDX-License-Identifier: BSD-3-Clause */
/* The binding of contract.h: what Python checks when it imports this module. */
#include "module.h"

#include "contract.h"

/* ((name, offset, size, type), ...) or NULL. */
static PyObject *fields_of(const struct pk_record *record)
{
	const struct pk_field *fields = record->fields();
	Py_ssize_t count = 0;
	PyObject *result, *field;

	while (fields[count].name)
		count++;
	result = PyTuple_New(count);
	for (Py_ssize_t i = 0; result && i < count; i++) {
		field = Py_BuildValue("snns", fields[i].name, (Py_ssize_t)fields[i].offset,
				      (Py_ssize_t)fields[i].size, fields[i].type);
		if (!field)
			Py_CLEAR(result);
		else
			PyTuple_SetItem(result, i, field);
	}
	return result;
}

static int put(PyObject *dict, const char *name, PyObject *value)
{
	int failed = !value || PyDict_SetItemString(dict, name, value);

	Py_XDECREF(value);
	return failed;
}

/* {record: (size, fields)} or NULL. */
static PyObject *layouts(void)
{
	PyObject *result = PyDict_New(), *fields;

	for (const struct pk_record *record = pk_records; result && record->name; record++) {
		fields = fields_of(record);
		if (!fields || put(result, record->name,
				   Py_BuildValue("nN", (Py_ssize_t)record->size, fields)))
			Py_CLEAR(result);
	}
	return result;
}

/* {enum: {name: number}} or NULL. */
static PyObject *enums(void)
{
	PyObject *result = PyDict_New(), *members;

	for (const struct pk_enum *each = pk_enums; result && each->name; each++) {
		members = PyDict_New();
		for (const struct pk_member *member = each->members; members && member->name;
		     member++)
			if (put(members, member->name, PyLong_FromUnsignedLong(member->number)))
				Py_CLEAR(members);
		if (put(result, each->name, members))
			Py_CLEAR(result);
	}
	return result;
}

/* {array: (size, type)} of one element, or NULL. */
static PyObject *elements(void)
{
	PyObject *result = PyDict_New();

	for (const struct pk_element *each = pk_elements; result && each->name; each++)
		if (put(result, each->name,
			Py_BuildValue("ns", (Py_ssize_t)each->size, each->type)))
			Py_CLEAR(result);
	return result;
}

static PyObject *parts(void)
{
	PyObject *result = PyTuple_New(PK_PART_COUNT);

	for (int i = 0; result && i < PK_PART_COUNT; i++)
		PyTuple_SetItem(result, i, PyUnicode_FromString(pk_parts[i]));
	return PyErr_Occurred() ? NULL : result;
}

static int add(PyObject *module, const char *name, PyObject *value)
{
	int failed = !value || PyModule_AddObjectRef(module, name, value);

	Py_XDECREF(value);
	return failed;
}

int pk_module_contract(PyObject *module)
{
	return add(module, "LAYOUTS", layouts()) || add(module, "ENUMS", enums()) ||
	       add(module, "PARTS", parts()) || add(module, "ELEMENTS", elements()) ||
	       add(module, "ABSENT", PyLong_FromUnsignedLong(PK_ABSENT));
}
