// What `attendant bench` measures, measured of ggml's flash_attn_ext on the CPU: `ggml attention|decode|mla [--kv N,...] ...`.
// Takes the words of `attendant bench` and prints lines as `attendant bench --json` does; what it does not know it leaves out.
// README.md says how to build it, also with the ggml of ik_llama.cpp.
#include "ggml-alloc.h"
#include "ggml-backend.h"
#if __has_include("ggml-cpu.h")
#include "ggml-cpu.h"
#endif
#include "ggml.h"
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { HEADS = 32, MOST = 64 };

// ik_llama.cpp's ggml has no version, wants whole blocks of rows of a mask, one for a single row too, and no cache in f32.
#ifdef GGML_KQ_MASK_PAD
static const char *const PEER = "ik_llama.cpp", *const VERSION = "";
enum { MASK_ROWS = GGML_KQ_MASK_PAD, MASKED = 1, FIRST_TYPE = 1 };
#define quantize(...) ggml_quantize_chunk(__VA_ARGS__, NULL)
#else
static const char *const PEER = "ggml";
#define VERSION ggml_version()
enum { MASK_ROWS = 1, MASKED = 2, FIRST_TYPE = 0 };
#define quantize ggml_quantize_chunk
#endif

static ggml_backend_t backend;
static double budget = 0.5;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Random rows, 64 of them again and again.
static void fill(struct ggml_tensor *tensor) {
    enum { ROWS = 64 };
    static uint32_t seed = 12345;
    int64_t width = tensor->ne[0], rows = ggml_nrows(tensor);
    float *values = malloc(width * ROWS * sizeof *values);
    for (int64_t i = 0; i < width * ROWS; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (seed >> 8) * (2.0f / 16777216.0f) - 1.0f;
    }
    size_t bytes = ggml_row_size(tensor->type, width);
    char *stored = malloc(bytes * ROWS);
    if (tensor->type == GGML_TYPE_F32) memcpy(stored, values, bytes * ROWS);
    else quantize(tensor->type, values, stored, 0, ROWS, width, NULL);
    for (int64_t row = 0; row < rows; row++) memcpy((char *)tensor->data + row * bytes, stored + row % ROWS * bytes, bytes);
    free(values);
    free(stored);
}

struct shape {
    const char *what;
    enum ggml_type type;
    int batch, heads, kv, d_qk, d_v, rows, length;
};

static void measure(struct shape s) {
    int latent = strcmp(s.what, "mla") == 0;
    struct ggml_init_params params = {ggml_tensor_overhead() * 64 + ggml_graph_overhead(), NULL, true};
    struct ggml_context *context = ggml_init(params);
    struct ggml_tensor *q = ggml_new_tensor_4d(context, GGML_TYPE_F32, s.d_qk, s.rows, s.heads, s.batch);
    struct ggml_tensor *k = ggml_new_tensor_4d(context, s.type, s.d_qk, s.length, s.kv, s.batch);
    struct ggml_tensor *v = latent ? ggml_view_4d(context, k, s.d_v, s.length, s.kv, s.batch, k->nb[1], k->nb[2], k->nb[3], 0)
                                   : ggml_new_tensor_4d(context, s.type, s.d_v, s.length, s.kv, s.batch);
    int mask_rows = (s.rows + MASK_ROWS - 1) / MASK_ROWS * MASK_ROWS;
    struct ggml_tensor *mask = s.rows >= MASKED ? ggml_new_tensor_4d(context, GGML_TYPE_F16, s.length, mask_rows, 1, 1) : NULL;
    float scale = 1.0f / sqrtf(latent ? 192 : s.d_qk);
    struct ggml_tensor *out = ggml_flash_attn_ext(context, q, k, v, mask, scale, 0.0f, 0.0f);
    struct ggml_cgraph *graph = ggml_new_graph(context);
    ggml_build_forward_expand(graph, out);
    ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors(context, backend);
    if (!buffer) {
        fprintf(stderr, "ggml: no memory for %s of %d\n", s.what, s.length);
        exit(1);
    }
    fill(q);
    fill(k);
    if (!latent) fill(v);
    if (mask) {
        ggml_fp16_t *values = mask->data, seen = ggml_fp32_to_fp16(0.0f), hidden = ggml_fp32_to_fp16(-INFINITY);
        for (int row = 0; row < mask_rows; row++)
            for (int at = 0; at < s.length; at++) values[(size_t)row * s.length + at] = at <= row + s.length - s.rows ? seen : hidden;
    }
    ggml_backend_graph_compute(backend, graph);
    static double seconds[1 << 16];
    int calls = 0;
    for (double begin = now(); calls < 5 || (now() - begin < budget && calls < 1 << 16); calls++) {
        double start = now();
        ggml_backend_graph_compute(backend, graph);
        seconds[calls] = now() - start;
    }
    qsort(seconds, calls, sizeof *seconds, ascending);
    printf("{\"peer\":\"%s\",\"version\":\"%s\",\"what\":\"%s\",\"dtype\":\"%s\",\"B\":%d,\"kv\":%d,\"D\":%d,\"L\":%d,\"ms\":%.4f,"
           "\"min_ms\":%.4f,\"n\":%d}\n",
           PEER, VERSION, s.what, ggml_type_name(s.type), s.batch, s.kv, s.d_qk, s.length, seconds[calls / 2] * 1e3,
           seconds[0] * 1e3, calls);
    fflush(stdout);
    ggml_backend_buffer_free(buffer);
    ggml_free(context);
}

struct numbers {
    int count, values[MOST];
};

// The word after `name`, or `usual`.
static const char *word(int count, char **words, const char *name, const char *usual) {
    for (int i = 2; i + 1 < count; i++)
        if (strcmp(words[i], name) == 0) return words[i + 1];
    return usual;
}

static struct numbers numbers(const char *text) {
    struct numbers all = {0};
    for (char *end; *text && all.count < MOST; text = *end ? end + 1 : end) all.values[all.count++] = (int)strtol(text, &end, 10);
    return all;
}

// Whether `name` is one of the words of a list.
static int names(const char *list, const char *name) {
    size_t length = strlen(name);
    for (const char *at = list; (at = strstr(at, name)); at += length)
        if ((at == list || at[-1] == ',') && (at[length] == 0 || at[length] == ',')) return 1;
    return 0;
}

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "";
    int attention = strcmp(what, "attention") == 0, decode = strcmp(what, "decode") == 0, latent = strcmp(what, "mla") == 0;
    if (!attention && !decode && !latent) return 0;
    const char *precision = word(count, words, "--precision", "f32");
    const char *types = attention ? precision : word(count, words, "--dtypes", "f32,bf16,f16,int8,int4");
    struct numbers kv = numbers(latent ? "1" : word(count, words, "--kv", "32,8,1"));
    struct numbers widths = numbers(latent ? "576" : word(count, words, "--widths", attention ? "64,128" : "128"));
    struct numbers lengths = numbers(word(count, words, "--lengths", attention ? "512,2048" : "8192"));
    struct numbers batches = numbers(attention ? "1" : word(count, words, "--batches", "1"));
    budget = atof(word(count, words, "--budget", "0.5"));
    backend = ggml_backend_cpu_init();
    ggml_backend_cpu_set_n_threads(backend, atoi(word(count, words, "--threads", "2")));
    const struct {
        const char *name;
        enum ggml_type type;
    } known[] = {{"f32", GGML_TYPE_F32}, {"f16", GGML_TYPE_F16}, {"bf16", GGML_TYPE_BF16}, {"int8", GGML_TYPE_Q8_0}, {"int4", GGML_TYPE_Q4_0}};
    for (int b = 0; b < batches.count; b++)
        for (int w = 0; w < widths.count; w++)
            for (int h = 0; h < kv.count; h++)
                for (int l = 0; l < lengths.count; l++)
                    for (size_t t = FIRST_TYPE; t < sizeof known / sizeof *known; t++) {
                        if (!names(types, known[t].name)) continue;
                        int d = widths.values[w], length = lengths.values[l];
                        measure((struct shape){
                            .what = attention ? "prefill" : what, .type = known[t].type, .batch = batches.values[b],
                            .heads = latent ? 16 : HEADS, .kv = kv.values[h], .d_qk = d, .d_v = latent ? 512 : d,
                            .rows = attention ? length : 1, .length = length});
                    }
    return 0;
}
