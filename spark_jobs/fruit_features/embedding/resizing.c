/* Stretches an RGB picture to 224x224 with the pixels of Pillow 13's BICUBIC, bit for bit.
 *
 * Both do the same sums: levels of 8 bits times weights of 22 bits behind the point, rounded to 8 bits after each of two passes. Pillow
 * goes through a pixel's neighbours one after the other. Here each pass goes through whole rows, 32 sums at a time; a row of the picture
 * becomes a column for the pass that would go across rows. `fruit_cli/release/machine_code.py` compiles this for the nodes, and
 * `resizing.py` calls it.
 *
 * It needs no library, allocates nothing, and writes nowhere but to `scratch` and `out`.
 */
#include <stdint.h>

enum { SIDE = 224, BANDS = 3, WEIGHT_BITS = 22, SUMS = 32, ROWS_A_BLOCK = 16 };
enum { SIDE_BYTES = SIDE * BANDS };

typedef struct {
    int32_t from[SIDE];  /* the first row, or column, of the picture that counts for a result */
    int32_t count[SIDE]; /* how many count */
    int32_t weights[];   /* of each result, `reach` places apart */
} Plan;

static double bicubic(double x) {
    x = x < 0 ? -x : x;
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * -0.5;
    return 0;
}

static int reach_of(int size) {
    double scale = (double)size / SIDE;
    return 2 * (int)(2 * (scale < 1 ? 1 : scale)) + 3;
}

static void make_plan(int size, Plan *plan) {
    double scale = (double)size / SIDE, wider = scale < 1 ? 1 : scale, support = 2 * wider, narrower = 1 / wider;
    int reach = reach_of(size);
    for (int result = 0; result < SIDE; result++) {
        double centre = (result + 0.5) * scale, sum = 0;
        int from = (int)(centre - support + 0.5), end = (int)(centre + support + 0.5);
        from = from < 0 ? 0 : from;
        end = end > size ? size : end;
        for (int i = from; i < end; i++) sum += bicubic((i - centre + 0.5) * narrower);
        plan->from[result] = from;
        plan->count[result] = end - from;
        for (int i = from; i < end; i++) {
            double weight = bicubic((i - centre + 0.5) * narrower) / sum * (1 << WEIGHT_BITS);
            plan->weights[result * reach + i - from] = (int32_t)(weight < 0 ? weight - 0.5 : weight + 0.5);
        }
    }
}

/* Makes 224 rows of `rows` rows of `width` bytes each, of which there must be 32 at least. */
#ifdef __x86_64__
__attribute__((target("avx2")))
#endif
static void pass(const uint8_t *restrict in, int rows, int width, const Plan *plan, uint8_t *restrict out) {
    int reach = reach_of(rows);
    for (int result = 0; result < SIDE; result++) {
        const int32_t *weights = plan->weights + result * reach;
        const uint8_t *first = in + (int64_t)plan->from[result] * width;
        for (int x = 0; x < width; x += SUMS) {
            int32_t sums[SUMS];
            if (x > width - SUMS) x = width - SUMS; /* the last bytes come with some that were done before */
            for (int i = 0; i < SUMS; i++) sums[i] = 1 << (WEIGHT_BITS - 1);
            for (int row = 0; row < plan->count[result]; row++)
                for (int i = 0; i < SUMS; i++) sums[i] += weights[row] * first[(int64_t)row * width + x + i];
            for (int i = 0; i < SUMS; i++) {
                int32_t level = sums[i] >> WEIGHT_BITS;
                out[(int64_t)result * width + x + i] = level < 0 ? 0 : level > 255 ? 255 : level;
            }
        }
    }
}

/* Makes rows of columns, pixel by pixel. */
static void turn(const uint8_t *restrict in, int rows, int columns, uint8_t *restrict out) {
    for (int block = 0; block < rows; block += ROWS_A_BLOCK) {
        int end = block + ROWS_A_BLOCK < rows ? block + ROWS_A_BLOCK : rows;
        for (int column = 0; column < columns; column++)
            for (int row = block; row < end; row++) {
                const uint8_t *from = in + ((int64_t)row * columns + column) * BANDS;
                uint8_t *to = out + ((int64_t)column * rows + row) * BANDS;
                to[0] = from[0];
                to[1] = from[1];
                to[2] = from[2];
            }
    }
}

static int64_t plan_bytes(int width, int height) {
    return (int64_t)sizeof(Plan) + (int64_t)sizeof(int32_t) * SIDE * reach_of(width > height ? width : height);
}

/* Pillow takes the rows first if the height shrinks by more than twice as many pixels as the width. */
static int rows_first(int width, int height) {
    return height > SIDE && height - SIDE > 2 * (width - SIDE);
}

/* Returns how many bytes of scratch a picture of this size needs. */
int64_t fruits_scratch_bytes(int width, int height) {
    int64_t middle = rows_first(width, height) ? 2LL * SIDE_BYTES * width + (int64_t)SIDE_BYTES * SIDE
                                               : (int64_t)BANDS * width * height + 2LL * SIDE_BYTES * height;
    return plan_bytes(width, height) + middle;
}

/* Writes 224 rows of 224 pixels to `out`. `in` has `height` rows of `width` pixels, and both must be 11 at least. `scratch` must lie where
 * an int32_t may. */
void fruits_resize(const uint8_t *in, int width, int height, uint8_t *scratch, uint8_t *out) {
    Plan *plan = (Plan *)scratch;
    uint8_t *middle = scratch + plan_bytes(width, height);
    if (rows_first(width, height)) {
        uint8_t *turned = middle + (int64_t)SIDE_BYTES * width, *narrow = turned + (int64_t)SIDE_BYTES * width;
        make_plan(height, plan);
        pass(in, height, BANDS * width, plan, middle);
        turn(middle, SIDE, width, turned);
        make_plan(width, plan);
        pass(turned, width, SIDE_BYTES, plan, narrow);
        turn(narrow, SIDE, SIDE, out);
    } else {
        uint8_t *narrow = middle + (int64_t)BANDS * width * height, *upright = narrow + (int64_t)SIDE_BYTES * height;
        turn(in, height, width, middle);
        make_plan(width, plan);
        pass(middle, width, BANDS * height, plan, narrow);
        turn(narrow, SIDE, height, upright);
        make_plan(height, plan);
        pass(upright, height, SIDE_BYTES, plan, out);
    }
}
