/*
 * bench_pager_lmdb.c - LMDB as a peer of the checkpoint: pages by number, one
 * transaction, durable at commit (its defaults).
 */
#include "bench_pager.h"

#include "bench.h"

#ifdef HY_HAVE_LMDB

#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static MDB_env *env;
static MDB_txn *txn;
static MDB_dbi table;

static void must(int r)
{
    if (r != 0)
        bench_wrong(mdb_strerror(r));
}

static void begin(void)
{
    must(mdb_txn_begin(env, NULL, 0, &txn));
    must(mdb_dbi_open(txn, NULL, MDB_INTEGERKEY | MDB_CREATE, &table));
}

static void remove_files(const char *path)
{
    char lock[4096];

    unlink(path);
    snprintf(lock, sizeof(lock), "%s-lock", path);
    unlink(lock);
}

bool lmdb_open(const char *path, uint64_t bytes)
{
    remove_files(path);
    must(mdb_env_create(&env));
    must(mdb_env_set_mapsize(env, (size_t)bytes));
    must(mdb_env_open(env, path, MDB_NOSUBDIR, 0600));
    begin();
    return true;
}

void lmdb_put(uint64_t page, const void *data)
{
    MDB_val key = {sizeof(page), &page};
    MDB_val value = {4000, (void *)(uintptr_t)data};

    must(mdb_put(txn, table, &key, &value, 0));
}

void lmdb_commit(void)
{
    must(mdb_txn_commit(txn));
    begin();
}

void lmdb_close(const char *path)
{
    mdb_txn_abort(txn);
    mdb_env_close(env);
    remove_files(path);
}

#else

bool lmdb_open(const char *path, uint64_t bytes)
{
    (void)path;
    (void)bytes;
    return false;
}

void lmdb_put(uint64_t page, const void *data)
{
    (void)page;
    (void)data;
}

void lmdb_commit(void)
{
}

void lmdb_close(const char *path)
{
    (void)path;
}

#endif
