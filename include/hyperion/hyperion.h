/*
 * hyperion.h - all of libhyperion in one include. Each header below can be
 * included alone as well; base.h states the conventions they share.
 */
#ifndef HYPERION_HYPERION_H
#define HYPERION_HYPERION_H

#include <hyperion/base.h>
#include <hyperion/byte_ring.h>
#include <hyperion/chan.h>
#include <hyperion/context.h>
#include <hyperion/fiber.h>
#include <hyperion/heap.h>
#include <hyperion/index.h>
#include <hyperion/jit.h>
#include <hyperion/local.h>
#include <hyperion/monitor.h>
#include <hyperion/observe.h>
#include <hyperion/offload.h>
#include <hyperion/pager.h>
#include <hyperion/patch.h>
#include <hyperion/pipeline.h>
#include <hyperion/ring.h>
#include <hyperion/runtime.h>
#include <hyperion/sim.h>
#include <hyperion/slab.h>
#include <hyperion/sync.h>
#include <hyperion/text.h>
#include <hyperion/vec.h>

#endif
