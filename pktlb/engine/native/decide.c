/* SPDX-License-Identifier: BSD-3-Clause */
/* The middle pass over a batch, for one frame. Under the lock. */
#include "batch.h"
#include "step.h"

void pk_decide(struct pk_plane *plane, const struct pk_tables *tables,
	       const struct pk_frame *frame, struct pk_view *view, __u64 hash,
	       struct pk_decision *decision)
{
	struct pk_step step = { plane, tables, frame, view, &view->key, hash, decision };

	decision->relays = decision->answers = 0;
	if (view->kind == PK_ERROR)
		decision->reason = pk_error_of(&step);
	else if (view->kind != PK_WHOLE && pk_is_held(&step))
		decision->reason = pk_fragment_of(&step);
	else
		decision->reason = pk_packet(&step);
}
