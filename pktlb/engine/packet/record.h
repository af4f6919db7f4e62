/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Records and enums that Python knows as well, each declared once as a list.
 *
 * A list of fields is X(type, name) or X(type, name, [count]), a list of names X(NAME) or
 * X(NAME, = number). The C type is made of the list; native/contract.c tells Python where each
 * field lies and which number each name is. Python refuses a record with a gap: reserved bytes are a
 * field as well, whose name is `zero`.
 */
#ifndef PK_RECORD_H
#define PK_RECORD_H

#define PK_FIELD(type, name, ...) type name __VA_ARGS__;
#define PK_MEMBER(name, ...) PK_##name __VA_ARGS__,

#endif
