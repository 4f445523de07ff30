/* Block transforms of whole images, for compiled.py, which describes the arguments and checks them.
 *
 * No header of Python is needed. A machine without AVX2 gets the answer 0 from kp_supported, and uses numpy or OpenCV.
 */
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define CHUNK 16 /* bytes; a register holds two chunks of the result */
#define AVX2 __attribute__((target("avx2")))

/* How the chunks of one unit, some blocks side by side, become its chunks in the result. */
typedef struct {
    int32_t rows_in, rows_out;   /* rows of a unit */
    int32_t width_in, width_out; /* bytes of such a row */
    int32_t blocks;              /* blocks in a unit */
    int32_t pairs;               /* pairs of chunks of the result */
    const int32_t *first;        /* (pairs + 1): where the steps of a pair begin */
    const int32_t *from;         /* (steps, 2): row, and byte in the row, of the chunk that a step reads */
    const int32_t *to;           /* (pairs, 4): row and byte of either chunk of a pair */
    const uint8_t *picks;        /* (steps, 32): which byte goes where; 128 is none */
    const uint8_t *flips;        /* (pairs, 32): 0 or 255 */
} Plan;

int kp_supported(void) { return __builtin_cpu_supports("avx2"); }

/* Write one pair of chunks of every unit. With a constant number of steps, the compiler keeps the picks in registers. */
AVX2 __attribute__((always_inline)) static inline void move_pair(const int steps, const __m256i *picks, __m256i flips,
                                                                 const uint8_t *in, const int64_t *from, int64_t width_in,
                                                                 uint8_t *out, const int64_t *to, int64_t width_out,
                                                                 int64_t units) {
    uint8_t *low = out + to[0], *high = out + to[1];
    for (int64_t unit = 0; unit < units; unit++, in += width_in, low += width_out, high += width_out) {
        __m256i result = flips;
        for (int step = 0; step < steps; step++) {
            __m256i chunk = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(in + from[step])));
            result = _mm256_xor_si256(result, _mm256_shuffle_epi8(chunk, _mm256_loadu_si256(picks + step)));
        }
        _mm_storeu_si128((__m128i *)low, _mm256_castsi256_si128(result));
        _mm_storeu_si128((__m128i *)high, _mm256_extracti128_si256(result, 1));
    }
}

AVX2 static void move_units(const Plan *plan, const uint8_t *in, const int64_t *from, uint8_t *out, const int64_t *to,
                            int64_t units) {
#define CASE(steps) \
    case steps: \
        move_pair(steps, picks, flips, in, origins, plan->width_in, out, to + 2 * pair, plan->width_out, units); \
        break
    for (int32_t pair = 0; pair < plan->pairs; pair++) {
        const __m256i *picks = (const __m256i *)plan->picks + plan->first[pair];
        const __m256i flips = _mm256_loadu_si256((const __m256i *)plan->flips + pair);
        const int64_t *origins = from + plan->first[pair];
        const int steps = plan->first[pair + 1] - plan->first[pair];
        switch (steps) {
            CASE(1);
            CASE(2);
            CASE(3);
            CASE(4);
            CASE(5);
            CASE(6);
            CASE(7);
            CASE(8);
        default:
            move_pair(steps, picks, flips, in, origins, plan->width_in, out, to + 2 * pair, plan->width_out, units);
        }
    }
#undef CASE
}

/* Chunks may reach past the end of a row of a unit. Inside an image these bytes belong to the next unit, which is
 * written later. The last unit of a row is moved by way of buffers instead. */
void kp_move(const Plan *plan, const uint8_t *in, const int64_t *rows_in, int64_t band_in, uint8_t *out,
             const int64_t *rows_out, int64_t band_out, int64_t bands, int64_t blocks) {
    int32_t steps = plan->first[plan->pairs], stores = 2 * plan->pairs;
    int64_t from[steps], to[stores], from_buffer[steps], to_buffer[stores];
    int64_t pitch_in = (plan->width_in + CHUNK - 1) / CHUNK * CHUNK, pitch_out = (plan->width_out + CHUNK - 1) / CHUNK * CHUNK;
    uint8_t buffer_in[plan->rows_in * pitch_in], buffer_out[plan->rows_out * pitch_out];
    int64_t whole = (blocks - 1) / plan->blocks, rest = blocks - whole * plan->blocks;
    for (int32_t i = 0; i < steps; i++) {
        from[i] = rows_in[plan->from[2 * i]] + plan->from[2 * i + 1];
        from_buffer[i] = plan->from[2 * i] * pitch_in + plan->from[2 * i + 1];
    }
    for (int32_t i = 0; i < stores; i++) {
        to[i] = rows_out[plan->to[2 * i]] + plan->to[2 * i + 1];
        to_buffer[i] = plan->to[2 * i] * pitch_out + plan->to[2 * i + 1];
    }
    memset(buffer_in, 0, sizeof buffer_in);
    for (int64_t band = 0; band < bands; band++, in += band_in, out += band_out) {
        move_units(plan, in, from, out, to, whole);
        const uint8_t *tail_in = in + whole * plan->width_in;
        uint8_t *tail_out = out + whole * plan->width_out;
        for (int32_t row = 0; row < plan->rows_in; row++)
            memcpy(buffer_in + row * pitch_in, tail_in + rows_in[row], rest * (plan->width_in / plan->blocks));
        move_units(plan, buffer_in, from_buffer, buffer_out, to_buffer, 1);
        for (int32_t row = 0; row < plan->rows_out; row++)
            memcpy(tail_out + rows_out[row], buffer_out + row * pitch_out, rest * (plan->width_out / plan->blocks));
    }
}

/* out = x XOR mask, and table[x XOR mask] at the places in keyed; all rows of one height in a block are alike. */
AVX2 void kp_look_up(const uint8_t *in, int64_t pitch, uint16_t *out, int64_t rows, int64_t width, int32_t period,
                     const uint8_t *mask, const int32_t *keyed, const int64_t *counts, const uint16_t *table) {
    for (int64_t row = 0; row < rows; row++, in += pitch, out += width) {
        int32_t phase = (int32_t)(row % period);
        const uint8_t *flips = mask + phase * width;
        const int32_t *places = keyed + phase * width;
        for (int64_t i = 0; i < width; i++)
            out[i] = in[i] ^ flips[i];
        for (int64_t i = 0; i < counts[phase]; i++) {
            int32_t place = places[i];
            out[place] = table[out[place]];
        }
    }
}

/* The inverse of the tables: 0 if every value is in them. offsets tells the table of every place of a row, 0 or size. */
int kp_look_back(const uint16_t *in, uint8_t *out, int64_t rows, int64_t width, int32_t period, const uint16_t *offsets,
                 const int16_t *tables, uint16_t size) {
    int16_t seen = 0;
    for (int64_t row = 0; row < rows; row++, in += width, out += width) {
        const uint16_t *offset = offsets + (row % period) * width;
        for (int64_t i = 0; i < width; i++) {
            uint16_t value = in[i] < size ? in[i] : size - 1; /* the last entry of a table is -1 */
            int16_t plain = tables[offset[i] + value];
            seen |= plain;
            out[i] = (uint8_t)plain;
        }
    }
    return seen < 0;
}
#else
int kp_supported(void) { return 0; }
#endif
