/*
 * locals.h - where the values of local.h are: a fiber's hang on the descriptor
 * of its stack, a thread's on its record (thread.h). NULL: it has set none.
 */
#ifndef HYI_LOCALS_H
#define HYI_LOCALS_H

#include <stdbool.h>

struct hyi_locals;

/* One round of destructors; false when none was called. The calling fiber's, or
   thread's. */
bool hyi_locals_round(struct hyi_locals **at);

/* A fiber ends: rounds, then the memory is given back. */
void hyi_locals_end(struct hyi_locals **at);

/* Gives the memory back; no destructor runs. */
void hyi_locals_discard(struct hyi_locals **at);

#endif
