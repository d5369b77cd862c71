/*
 * isa.h - the instruction set features in use: what the processor offers,
 * capped by HY_ISA in the environment. One answer for the whole process, so
 * that kernels and generated code agree.
 */
#ifndef HYI_ISA_H
#define HYI_ISA_H

/* HY_ARCH_* bits. Read once; any thread may race, all find the same. */
unsigned hyi_isa_features(void);

/* The name of the highest level within them (arch.h), "scalar" at least. */
const char *hyi_isa_name(void);

/* The pure half: features capped by a level's name. NULL, "" and names unknown
 * to this architecture cap nothing. */
unsigned hyi_isa_cap(unsigned features, const char *name);

#endif
