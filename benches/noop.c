/* A module with a command that does nothing, NOOP.STAT key argument...: the server's own cost of a module command.
 * Only the benchmark (benches/server) builds it. It declares the few parts of the module API that it uses. */
#include <stddef.h>

typedef struct RedisModuleCtx RedisModuleCtx;
typedef struct RedisModuleString RedisModuleString;
typedef int (*Handler)(RedisModuleCtx *, RedisModuleString **, int);

static int (*GetApi)(const char *, void *);
static void (*SetModuleAttribs)(RedisModuleCtx *, const char *, int, int);
static int (*CreateCommand)(RedisModuleCtx *, const char *, Handler, const char *, int, int, int);
static int (*ReplyWithLongLong)(RedisModuleCtx *, long long);

static int noop(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    (void)argv;
    (void)argc;
    return ReplyWithLongLong(ctx, 1);
}

int RedisModule_OnLoad(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    (void)argv;
    (void)argc;
    /* The first field of the context is the function that returns all others. */
    GetApi = *(int (**)(const char *, void *))ctx;
    GetApi("RedisModule_SetModuleAttribs", &SetModuleAttribs);
    GetApi("RedisModule_CreateCommand", &CreateCommand);
    GetApi("RedisModule_ReplyWithLongLong", &ReplyWithLongLong);
    SetModuleAttribs(ctx, "noop", 1, 1);
    return CreateCommand(ctx, "noop.stat", noop, "write fast", 1, 1, 1);
}
