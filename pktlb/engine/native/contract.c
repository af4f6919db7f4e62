/* SPDX-License-Identifier: BSD-3-Clause */
#include "contract.h"

#include "dump.h"
#include "io.h"
#include "raw_tables.h"
#include "single.h"

/* Every record that crosses the border, by the name of its struct, and its fields. */
#define RECORDS(X) \
	X(raw_service, PK_RAW_SERVICE) X(place, PK_PLACE) X(raw_tally, PK_RAW_TALLY) \
	X(raw_span, PK_RAW_SPAN) X(raw_end, PK_RAW_END) X(raw_hop, PK_RAW_HOP) \
	X(raw_port, PK_RAW_PORT) X(raw_removed, PK_RAW_REMOVED) \
	X(key, PK_KEY) X(offload, PK_OFFLOAD) X(single_head, PK_SINGLE_HEAD) \
	X(told_tally, PK_TOLD_TALLY) \
	X(flow, PK_FLOW) X(saved_pin, PK_SAVED_PIN) X(saved_tally, PK_SAVED_TALLY) \
	X(worker_port, PK_WORKER_PORT) X(shared, PK_SHARED) X(shared_port, PK_SHARED_PORT)

#define ENUMS(X) \
	X(mode, PK_MODES) X(scheduler, PK_SCHEDULERS) X(hash_fields, PK_HASH_FIELDS) \
	X(service_flag, PK_SERVICE_FLAGS) X(on_remove, PK_ON_REMOVES) \
	X(state, PK_STATES) X(flow_flag, PK_FLOW_FLAGS) X(known, PK_KNOWN) X(reason, PK_REASONS)

/* Every array that crosses the border alone, by the struct that points to it or holds it. */
#define ARRAYS(X) \
	X(limits, timeouts) X(limits, snat) X(limits, source_ports) X(service, slots) \
	X(saved, flows) X(saved, pins) X(saved, tallies) \
	X(saved, picks) X(saved, tally_of) X(saved, standing_of) X(saved, counts)

#define FIELD(type, name, ...) { #name, #type, offsetof(of, name), sizeof(((of *)0)->name) },
#define FIELDS(record, LIST) \
	static const struct pk_field *fields_of_##record(void) \
	{ \
		typedef struct pk_##record of; \
		static const struct pk_field fields[] = { LIST(FIELD) { 0 } }; \
\
		return fields; \
	}
RECORDS(FIELDS)

#define RECORD(record, LIST) { #record, sizeof(struct pk_##record), fields_of_##record },
const struct pk_record pk_records[] = { RECORDS(RECORD) { 0 } };

#define MEMBER(name, ...) { #name, PK_##name },
#define MEMBERS(name, LIST) \
	static const struct pk_member members_of_##name[] = { LIST(MEMBER) { 0 } };
ENUMS(MEMBERS)

#define ENUM(name, LIST) { #name, members_of_##name },
const struct pk_enum pk_enums[] = { ENUMS(ENUM) { 0 } };

/* What an array says of itself cannot differ from what it is. */
#define TYPE(value) \
	_Generic((value), __u8: "__u8", __u16: "__u16", __u32: "__u32", __u64: "__u64", \
		 __s8: "__s8", __s16: "__s16", __s32: "__s32", __s64: "__s64", \
		 struct pk_flow: "struct pk_flow", struct pk_saved_pin: "struct pk_saved_pin", \
		 struct pk_saved_tally: "struct pk_saved_tally", default: "bytes")
#define ELEMENT(of, name) \
	{ #of "." #name, TYPE(*((struct pk_##of *)0)->name), sizeof(*((struct pk_##of *)0)->name) },
#define PART_ELEMENT(type, name) { "source." #name, #type, sizeof(type) },
const struct pk_element pk_elements[] = { ARRAYS(ELEMENT) PK_PARTS(PART_ELEMENT) { 0 } };

#define PART(type, name) #name,
const char *const pk_parts[PK_PART_COUNT] = { PK_PARTS(PART) };
