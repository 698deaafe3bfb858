//% extends "student.c"

/*
//% block notes
   Input: float, in the units of the training data; NaN counts as their mean.
   Readings further than 1e9 standard deviations from it, and infinity, count as that far.
   $name$_step_raw(&state, values) takes the integers of a sensor, int32_t; a float holds integers
   up to 2^24 exactly.
   Probabilities: float. Needs fmaf, one instruction of most FPUs (else link with -lm).

//% endblock
*/

//% block includes
#ifdef __FAST_MATH__
#error "This code counts on NaN and on the order of its sums: compile it without -ffast-math."
#endif

#include <math.h>
#include <string.h>
//% endblock

//% block interface
void $name$_step_raw($name$_state *state, const int32_t *values);
//% endblock

//% block functions
typedef struct {
    const float *x;
    const int32_t *h;
    float unit; /* of a sum over hidden states, after 39 of its bits */
} $name$_rows;

/* No initialiser: AVR would keep it in RAM. */
static $name$_rows $name$_rows_of(const float *x, const int32_t *h, float unit)
{
    $name$_rows r;
    r.x = x;
    r.h = h;
    r.unit = unit;
    return r;
}

/* from + change; `low` gets the part that the sum rounds off. */
static float $name$_carry(float from, float change, float *low)
{
    float sum = from + change, arrived = sum - from;
    *low = (from - (sum - arrived)) + (change - arrived);
    return sum;
}

/* One row: a bias and weights over inputs, each in two parts, and weights over hidden states,
   summed in 64 bits. The sum has two parts as well, the second goes to `rest`. */
static float $name$_row($name$_rows *r, const float *x, int n_x, const int32_t *h, int n_h,
                         float *rest)
{
    float sum = $NAME$_FLOAT(r->x), low = $NAME$_FLOAT(r->x + 1), lost;
    int64_t total = (int64_t)1 << 62; /* so that it stays positive */
    int i;
    r->x += 2;
    for (i = 0; i < n_x; i++) {
        float w = $NAME$_FLOAT(r->x), w_low = $NAME$_FLOAT(r->x + 1), product = w * x[i];
        r->x += 2;
        low += fmaf(w_low, x[i], fmaf(w, x[i], -product));
        sum = $name$_carry(sum, product, &lost);
        low += lost;
    }
    for (i = 0; i < n_h; i++)
        total += (int64_t)$NAME$_LONG(r->h++) * h[i];
    low += (float)(int32_t)((total >> 15) & 0xffffff) * (r->unit * 5.9604645e-8f);
    sum = $name$_carry(sum, (float)((int32_t)(total >> 39) - 0x800000) * r->unit, &lost);
    return $name$_carry(sum, low + lost, rest);
}

/* A reading from what a channel can say; of NaN, its mean. */
static float $name$_reading(float x, const float *range)
{
    float least = $NAME$_FLOAT(range), most = $NAME$_FLOAT(range + 1);
    return x < least ? least : x > most ? most : x == x ? x : $NAME$_FLOAT(range + 2);
}

static float $name$_plus(float a, float a_low, float b, float b_low, float *low)
{
    float lost, sum = $name$_carry(a, b, &lost);
    return $name$_carry(sum, lost + (a_low + b_low), low);
}

/* exp(-a) for a >= 0: a power of two, one of eight values between 1 and 2, and the series of
   the rest, of at most ln(2) / 16. */
static float $name$_power(float a, float *low)
{
    float rest, series, base, base_low, high;
    int32_t n, eighth, bits;
    if (a > 60.0f)
        a = 60.0f;
    n = (int32_t)(a * $eighths$ + 0.5f);
    rest = fmaf((float)n, $ln2_low$, fmaf((float)n, $ln2_high$, -a));
    series = fmaf(fmaf(fmaf(rest, $fifth$, $fourth$), rest, $third$), rest, 0.5f) * rest * rest;
    n = -n;
    eighth = n & 7;
    base = $NAME$_FLOAT($name$_powers + 2 * eighth);
    base_low = $NAME$_FLOAT($name$_powers + 2 * eighth + 1);
    high = base * rest;
    base_low += fmaf(base, series, fmaf(base_low, rest, fmaf(base, rest, -high)));
    high = $name$_plus(base, base_low, high, 0.0f, low);
    bits = (127 * 8 + n - eighth) * ((int32_t)1 << 20); /* of the power of two, in IEEE 754 */
    memcpy(&base, &bits, sizeof base);
    *low *= base;
    return high * base;
}

/* 1 / (1 + exp(-a)) */
static float $name$_logistic(float a, float a_low, float *low)
{
    float power_low, power = $name$_power(fabsf(a), &power_low);
    float sum_low, sum = $name$_plus(1.0f, 0.0f, power, power_low, &sum_low);
    float above = a < 0.0f ? power : 1.0f, high = above / sum;
    *low = a < 0.0f ? power_low : 0.0f;
    *low = (fmaf(-high, sum, above) + fmaf(-high, sum_low, *low)) / sum;
    *low += high * (1.0f - high) * a_low;
    return high;
}

/* tanh(a) = 2 / (1 + exp(-2a)) - 1 */
static float $name$_tanh(float a, float a_low, float *low)
{
    float high = $name$_logistic(2.0f * a, 2.0f * a_low, low);
    return $name$_plus(2.0f * high, 2.0f * *low, -1.0f, 0.0f, low);
}

//% if cell != "rnn"
static float $name$_times(float a, float a_low, float b, float b_low, float *low)
{
    float product = a * b;
    *low = fmaf(a, b, -product) + fmaf(a, b_low, a_low * b);
    return product;
}

//% endif
static int32_t $name$_fixed(float h, float low)
{
    return (int32_t)(h * 1073741824.0f) + (int32_t)(low * 1073741824.0f);
}

//% if cell == "gru"
static void $name$_read(const float *h, const float *low, int32_t *v)
{
    int j;
    for (j = 0; j < $size$; j++)
        v[j] = $name$_fixed(h[j], low[j]);
}

static void $name$_layer($name$_rows r, const float *x, int n_x, const int32_t *v, int n_v,
                          float *h, float *low)
{
    int j;
    for (j = 0; j < $size$; j++) {
        float low_reset, reset = $name$_row(&r, x, n_x, v, n_v, &low_reset);
        float low_update, update = $name$_row(&r, x, n_x, v, n_v, &low_update);
        float low_fresh, fresh = $name$_row(&r, x, n_x, v, n_v - $size$, &low_fresh);
        float low_known, known = $name$_row(&r, x, 0, v + n_v - $size$, $size$, &low_known);
        reset = $name$_logistic(reset, low_reset, &low_reset);
        update = $name$_logistic(update, low_update, &low_update);
        known = $name$_times(reset, low_reset, known, low_known, &low_known);
        fresh = $name$_plus(fresh, low_fresh, known, low_known, &low_fresh);
        fresh = $name$_tanh(fresh, low_fresh, &low_fresh);
        known = $name$_plus(h[j], low[j], -fresh, -low_fresh, &low_known);
        known = $name$_times(update, low_update, known, low_known, &low_known);
        h[j] = $name$_plus(fresh, low_fresh, known, low_known, low + j);
    }
}

//% else
static void $name$_read(const int32_t *h, int32_t *v)
{
    int j;
    for (j = 0; j < $size$; j++)
        v[j] = h[j];
}

//% endif
//% if cell == "lstm"
static void $name$_layer($name$_rows r, const float *x, int n_x, const int32_t *v, int n_v,
                          int32_t *h, float *c, float *low)
{
    int j;
    for (j = 0; j < $size$; j++) {
        float low_enter, enter = $name$_row(&r, x, n_x, v, n_v, &low_enter);
        float low_keep, keep = $name$_row(&r, x, n_x, v, n_v, &low_keep);
        float low_fresh, fresh = $name$_row(&r, x, n_x, v, n_v, &low_fresh);
        float low_out, out = $name$_row(&r, x, n_x, v, n_v, &low_out);
        enter = $name$_logistic(enter, low_enter, &low_enter);
        keep = $name$_logistic(keep, low_keep, &low_keep);
        fresh = $name$_tanh(fresh, low_fresh, &low_fresh);
        out = $name$_logistic(out, low_out, &low_out);
        enter = $name$_times(enter, low_enter, fresh, low_fresh, &low_enter);
        keep = $name$_times(keep, low_keep, c[j], low[j], &low_keep);
        c[j] = $name$_plus(keep, low_keep, enter, low_enter, low + j);
        fresh = $name$_tanh(c[j], low[j], &low_fresh);
        out = $name$_times(out, low_out, fresh, low_fresh, &low_out);
        h[j] = $name$_fixed(out, low_out);
    }
}

//% elif cell == "rnn"
static void $name$_layer($name$_rows r, const float *x, int n_x, const int32_t *v, int n_v,
                          int32_t *h)
{
    int j;
    for (j = 0; j < $size$; j++) {
        float low, sum = $name$_row(&r, x, n_x, v, n_v, &low);
        sum = $name$_tanh(sum, low, &low);
        h[j] = $name$_fixed(sum, low);
    }
}

//% endif
static void $name$_scores(const $name$_state *state, float *scores)
{
    $name$_rows r = $name$_rows_of($name$_head, $name$_head_h, $units[-1]$);
    int32_t v[$size$];
    float rest;
    int k;
    $name$_read($hidden | of_layer(n_layers - 1)$, v);
    for (k = 0; k < $NAME$_CLASSES; k++)
        scores[k] = $name$_row(&r, scores, 0, v, $size$, &rest);
}

void $name$_step($name$_state *state, const float *x)
{
    float readings[$NAME$_CHANNELS];
    int32_t v[$size * [n_layers, 2] | min$];
    int i;
//% for layer in range(n_layers)
    $name$_rows r$layer$ = $name$_rows_of($name$_layer_$layer$, $name$_layer_$layer$_h, $units[layer]$);
//% endfor
    for (i = 0; i < $NAME$_CHANNELS; i++)
        readings[i] = $name$_reading(x[i], $name$_ranges + 3 * i);
    $name$_read($hidden | of_layer(0)$, v);
    $name$_layer(r0, readings, $n_channels$, v, $size$, $fields | of_layer(0)$);
//% for layer in range(1, n_layers)
    $name$_read($hidden | of_layer(layer - 1)$, v);
    $name$_read($hidden | of_layer(layer)$, v + $size$);
    $name$_layer(r$layer$, readings, 0, v, $2 * size$, $fields | of_layer(layer)$);
//% endfor
}

void $name$_step_raw($name$_state *state, const int32_t *values)
{
    float x[$NAME$_CHANNELS];
    int i;
    for (i = 0; i < $NAME$_CHANNELS; i++)
        x[i] = (float)values[i]; /* the mean, in two parts, is in the biases */
    $name$_step(state, x);
}

void $name$_predict_proba(const $name$_state *state, float *proba)
{
    float top, rest, sum = 0.0f;
    int k;
    $name$_scores(state, proba);
    top = proba[0];
    for (k = 1; k < $NAME$_CLASSES; k++)
        if (proba[k] > top)
            top = proba[k];
    for (k = 0; k < $NAME$_CLASSES; k++) {
        proba[k] = $name$_power(top - proba[k], &rest);
        sum += proba[k];
    }
    for (k = 0; k < $NAME$_CLASSES; k++)
        proba[k] /= sum;
}

//% endblock

//% block mismatch
            if (!(fabsf(proba[k] - $NAME$_FLOAT(expected++)) <= 1e-6f))
//% endblock
