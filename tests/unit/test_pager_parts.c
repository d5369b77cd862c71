/*
 * test_pager_parts.c - the pager's inner structures against simple models.
 */
#include <errno.h>

#include "checksum.h"
#include "fail.h"
#include "hy_test.h"
#include "pager_pins.h"
#include "pager_table.h"

static uint64_t seed = 88172645463325252u;

static uint64_t next_random(uint64_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % below;
}

HY_TEST(pager_parts, checksum_is_the_published_one)
{
    /* xxhash's own sanity test: bytes from this generator, 64-bit results for
     * seed 0 and its prime. */
    const uint64_t prime32 = 2654435761u;
    const uint64_t prime64 = UINT64_C(11400714785074694797);
    unsigned char bytes[224];
    uint64_t x = prime32;

    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (unsigned char)(x >> 56);
        x *= prime64;
    }
    HY_CHECK(hyi_checksum(bytes, 32, 0) == UINT64_C(0x18b216492bb44b70));
    HY_CHECK(hyi_checksum(bytes, 32, prime32) == UINT64_C(0xb3f33bdf93ade409));
    HY_CHECK(hyi_checksum(bytes, 224, 0) == UINT64_C(0x560a22f68d44baa4));
    HY_CHECK(hyi_checksum(bytes, 224, prime32) == UINT64_C(0xce6601fbb696a3cb));
}

HY_TEST(pager_parts, every_bit_changes_the_checksum)
{
    unsigned char bytes[128] = {0};
    uint64_t plain = hyi_checksum(bytes, sizeof(bytes), 7);

    for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        HY_CHECK(hyi_checksum(bytes, sizeof(bytes), 7) != plain);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}

HY_TEST(pager_parts, pins_agree_with_a_counter_a_page)
{
    enum { CELLS = 64 };
    unsigned model[CELLS] = {0};
    struct hyi_pins pins;

    HY_CHECK_EQ(hyi_pins_init(&pins), 0);
    for (int round = 0; round < 20000; round++) {
        uint64_t a = next_random(CELLS), b = a + 1 + next_random(CELLS - a);
        uint64_t bytes = 0, start, end;
        bool can = true;

        for (uint64_t i = a; i < b; i++)
            can = can && model[i] != 0;
        if (next_random(2)) {
            HY_CHECK_EQ(hyi_pins_add(&pins, a, b), 0);
            for (uint64_t i = a; i < b; i++)
                model[i]++;
        } else {
            HY_CHECK_EQ(hyi_pins_remove(&pins, a, b), can ? 0 : -EINVAL);
            for (uint64_t i = a; can && i < b; i++)
                model[i]--;
        }
        for (uint64_t i = 0; i < CELLS; i++) {
            bytes += model[i] != 0;
            HY_CHECK_EQ(hyi_pins_overlap(&pins, i, i + 1), model[i] != 0);
        }
        HY_CHECK_EQ(hyi_pins_bytes(&pins), bytes);
        if (hyi_pins_next(&pins, a, &start, &end))
            HY_CHECK(start >= a && end > start && model[start] != 0);
        for (size_t i = 1; i < pins.count; i++)
            HY_CHECK(pins.spans[i - 1].end < pins.spans[i].start ||
                     (pins.spans[i - 1].end == pins.spans[i].start &&
                      pins.spans[i - 1].pins != pins.spans[i].pins));
    }
    hyi_pins_destroy(&pins);
}

HY_TEST(pager_parts, pins_without_memory_change_nothing)
{
    struct hyi_pins pins;

    HY_CHECK_EQ(hyi_pins_init(&pins), 0);
    hy_fail_at(HY_FAIL_REALLOC, 1, ENOMEM);
    HY_CHECK_EQ(hyi_pins_add(&pins, 0, 8), -ENOMEM);
    HY_CHECK_EQ(hy_fail_hits(), 1);
    hy_fail_none();
    HY_CHECK_EQ(hyi_pins_bytes(&pins), 0);
    hyi_pins_destroy(&pins);
}

HY_TEST(pager_parts, the_table_finds_what_was_set)
{
    const uint64_t count = 3000000;
    struct hyi_table table;
    uint64_t at[50], found = 0, where = 0;

    HY_CHECK_EQ(hyi_table_init(&table, count), 0);
    HY_CHECK(hyi_table_find(&table, 0, UINT32_MAX) == count);
    for (size_t i = 0; i < 50; i++) {
        at[i] = next_random(count);
        hyi_table_set(&table, at[i], HYI_OPEN);
    }
    hyi_table_set(&table, count - 1, HYI_DIRTY);
    while ((where = hyi_table_find(&table, where, HYI_OPEN)) < count) {
        bool known = false;

        for (size_t i = 0; i < 50; i++)
            known = known || at[i] == where;
        HY_CHECK(known);
        found++;
        where++;
    }
    HY_CHECK(found >= 45 && found <= 50);
    HY_CHECK(hyi_table_find(&table, 0, HYI_DIRTY) == count - 1);
    hyi_table_set(&table, count - 1, 0);
    HY_CHECK(hyi_table_find(&table, 0, HYI_DIRTY) == count);
    HY_CHECK_EQ(hyi_table_get(&table, at[0]), HYI_OPEN);
    hyi_table_destroy(&table);
}
