/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What this side and Python must agree on, out of the lists that also make the C types: see
 * record.h.
 */
#ifndef PK_CONTRACT_H
#define PK_CONTRACT_H

#include <stddef.h>

#include "raw_tables.h"

struct pk_field {
	const char *name; /* NULL behind the last one */
	const char *type; /* of one element, as C spells it */
	size_t offset, size;
};

struct pk_record {
	const char *name; /* NULL behind the last one */
	size_t size;
	const struct pk_field *(*fields)(void);
};

struct pk_element {
	const char *name; /* of a struct and its array; NULL behind the last one */
	const char *type; /* as C spells it, where it is a number or a record */
	size_t size;
};

struct pk_member {
	const char *name; /* NULL behind the last one */
	__u32 number;
};

struct pk_enum {
	const char *name; /* NULL behind the last one */
	const struct pk_member *members;
};

extern const struct pk_record pk_records[];
extern const struct pk_enum pk_enums[];
extern const struct pk_element pk_elements[]; /* of each array */
extern const char *const pk_parts[PK_PART_COUNT]; /* the arrays of struct pk_source */

#endif
