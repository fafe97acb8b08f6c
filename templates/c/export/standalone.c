/* Handles of a model by itself, and their runs: see standalone.h. */

#define _GNU_SOURCE
#include "standalone.h"
#include "threads.h"
#include "weights.h"

#include <stdlib.h>
#include <string.h>

#define LINE 64 /* bytes of a cache line: the alignment of memory */

/* Memory of one run at a time, kept for the next one. */
typedef struct arena {
    size_t bytes;
    char at[] __attribute__((aligned(LINE)));
} arena;

struct intaglio_model {
    const intaglio_description *about;
    const char *weights;
    intaglio_pool *pool;
    int32_t threads;
    intaglio_word seed; /* changes with every random number */
    arena *spare;  /* of a run that is over, or NULL */
};

intaglio_model *intaglio_create(const intaglio_description *about, const char *path, int32_t threads, int32_t *status)
{
    intaglio_model *model = calloc(1, sizeof *model);
    *status = INTAGLIO_NO_MEMORY;
    if (!model) return NULL;
    *status = intaglio_open_weights(path, about->weights_bytes, &model->weights);
    if (*status) {
        free(model);
        return NULL;
    }
    model->about = about;
    model->threads = threads;
    model->pool = intaglio_join_pool(&model->threads);
    return model;
}

void intaglio_destroy(intaglio_model *model)
{
    if (!model) return;
    intaglio_leave_pool(model->pool);
    intaglio_close_weights(model->weights, model->about->weights_bytes);
    free(model->spare);
    free(model);
}

void intaglio_seed(intaglio_model *model, uint64_t seed) { __atomic_store_n(&model->seed, seed, __ATOMIC_RELAXED); }

/* 63 bits. Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014: SplitMix. */
static int64_t random_bits(intaglio_model *model)
{
    if (!model) return 0; /* shapes do not depend on it */
    uint64_t z = __atomic_add_fetch(&model->seed, 0x9e3779b97f4a7c15u, __ATOMIC_RELAXED);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (int64_t)((z ^ z >> 31) >> 1);
}

static int64_t element_of(const void *input, const intaglio_symbol *symbol)
{
    const int64_t value = symbol->bytes == 8 ? ((const int64_t *)input)[symbol->element] : ((const int32_t *)input)[symbol->element];
    return value < -INT64_MAX ? -INT64_MAX : value; /* the negative of one less wraps around */
}

/* The work area: the values of symbols, then what intaglio_plan says. */
static int64_t *told(const intaglio_description *about, const intaglio_arguments *a) { return a->work + about->symbols; }

/* Fills the work area. model: NULL without a run. */
static int32_t plan(const intaglio_description *about, intaglio_model *model, const intaglio_arguments *a)
{
    const int64_t *size = a->sizes;
    for (int32_t i = 0; i < about->symbols; i++) {
        const intaglio_symbol *symbol = &about->symbol[i];
        if (symbol->from == INTAGLIO_SIZE) {
            if (*size < symbol->least) return INTAGLIO_BAD_SIZE;
            a->work[i] = *size++;
        } else if (symbol->from == INTAGLIO_ELEMENT) {
            if (!a->inputs[symbol->input]) return INTAGLIO_NULL_POINTER;
            a->work[i] = element_of(a->inputs[symbol->input], symbol);
        } else {
            a->work[i] = random_bits(model);
        }
    }
    const int32_t refused = intaglio_plan(a->work, told(about, a));
    return refused ? refused : told(about, a)[0] < 0 ? INTAGLIO_NO_MEMORY : INTAGLIO_OK;
}

int32_t intaglio_shapes(const intaglio_description *about, const intaglio_arguments *a)
{
    const int32_t status = plan(about, NULL, a);
    if (status) return status;
    const int64_t *shape = told(about, a) + 4;
    for (int32_t i = 0; i < about->outputs; shape += about->output[i++].rank)
        if (a->shapes[i]) memcpy(a->shapes[i], shape, (size_t)about->output[i].rank * sizeof *shape);
    return INTAGLIO_OK;
}

/* One run, as the functions that the program calls know it. */
typedef struct run {
    const intaglio_description *about;
    const intaglio_arguments *arguments;
} run;

/* An aligned block, or NULL if there is no memory. */
static void *allocated(size_t bytes)
{
    void *at = NULL;
    return posix_memalign(&at, LINE, bytes ? bytes : 1) ? NULL : at;
}

/* Allocates an output whose shape depends on data: see intaglio_host. */
static void *make_output(void *self, int32_t index, const int64_t *shape, int32_t rank)
{
    const run *r = self;
    size_t bytes = (size_t)r->about->output[index].bytes;
    for (int32_t i = 0; i < rank; i++)
        if (__builtin_mul_overflow(bytes, shape[i], &bytes)) return NULL;
    void *made = allocated(bytes);
    memcpy(r->arguments->outputs[index], &made, sizeof made); /* a pointer to any type of elements */
    if (rank) memcpy(r->arguments->shapes[index], shape, (size_t)rank * sizeof *shape);
    return made;
}

/* Sets the pointers of outputs that are made to NULL. is_over: frees what they point at. */
static void reset_outputs(const run *r, int is_over)
{
    for (int32_t i = 0; i < r->about->outputs; i++) {
        void *made = NULL;
        if (!r->about->output[i].is_made || !r->arguments->outputs[i]) continue;
        if (is_over) {
            memcpy(&made, r->arguments->outputs[i], sizeof made);
            free(made);
            made = NULL;
        }
        memcpy(r->arguments->outputs[i], &made, sizeof made);
    }
}

static int has_null(const intaglio_description *about, const intaglio_arguments *a)
{
    for (int32_t i = 0; i < about->inputs; i++)
        if (!a->inputs[i]) return 1;
    for (int32_t i = 0; i < about->outputs; i++)
        if (!a->outputs[i] || (about->output[i].is_made && about->output[i].rank && !a->shapes[i])) return 1;
    return 0;
}

/* An arena that no other run uses, of at least so many bytes; NULL if there is no memory. */
static arena *take_arena(intaglio_model *model, int64_t bytes)
{
    if ((uint64_t)bytes > SIZE_MAX - sizeof(arena)) return NULL;
    arena *found = __atomic_exchange_n(&model->spare, NULL, __ATOMIC_ACQUIRE);
    if (found && found->bytes >= (size_t)bytes) return found;
    free(found);
    found = allocated(sizeof *found + (size_t)bytes);
    if (found) found->bytes = (size_t)bytes;
    return found;
}

static void give_back_arena(intaglio_model *model, arena *taken)
{
    free(__atomic_exchange_n(&model->spare, taken, __ATOMIC_ACQ_REL));
}

int32_t intaglio_execute(intaglio_model *model, const intaglio_arguments *a)
{
    if (!model) return INTAGLIO_NULL_POINTER;
    run r = {.about = model->about, .arguments = a};
    reset_outputs(&r, 0);
    if (has_null(r.about, a)) return INTAGLIO_NULL_POINTER;
    int32_t status = plan(r.about, model, a);
    if (status) return status;

    const int64_t *sizes = told(r.about, a), enough = sizes[2];
    const int32_t threads = enough > 0 && enough < model->threads ? (int32_t)enough : model->threads;
    arena *memory = take_arena(model, sizes[0] + sizes[1] * threads);
    if (!memory) return INTAGLIO_NO_MEMORY;
    int64_t report[4];
    const intaglio_host host = {.self = &r, .output = make_output};
    const intaglio_call call = {
        .inputs = (void *const *)a->inputs,
        .outputs = a->outputs,
        .dims = a->work,
        .weights = model->weights,
        .arena = memory->at,
        .arena_bytes = sizes[0],
        .scratch_bytes = sizes[1],
        .pool = threads > 1 ? model->pool : NULL,
        .report = report,
        .host = &host,
        .threads = threads,
    };
    status = intaglio_run(&call);
    give_back_arena(model, memory);
    if (status) reset_outputs(&r, 1);
    return status > 0 ? status + r.about->refusals : status;
}

void intaglio_free(void *output) { free(output); }

const char *intaglio_text(const intaglio_description *about, int32_t status)
{
    if (status > 0 && status <= about->texts) return about->text[status - 1];
    switch (status) {
    case INTAGLIO_OK: return "success";
    case INTAGLIO_NO_MEMORY: return "there is not enough memory";
    case INTAGLIO_ABSURD_SIZE: return "a size that depends on data is negative, or too large";
    case INTAGLIO_NULL_POINTER: return "an argument is NULL";
    case INTAGLIO_BAD_SIZE: return "a size is negative, or smaller than the model allows";
    case INTAGLIO_NO_WEIGHTS: return "the file of the weights cannot be opened or read";
    case INTAGLIO_WRONG_WEIGHTS: return "the file of the weights is not that of this model: its size differs";
    default: return "an unknown status";
    }
}
