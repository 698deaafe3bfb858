//% extends "student.c"

/*
//% block notes
   Input: int16_t, for each channel the standardised value in units of 2^-$bits$, saturated: a reading
   further than $2 ** (15 - bits)$ standard deviations from the mean counts as that far.
   $name$_step_raw(&state, values) takes the integers of a sensor, int32_t, and standardises them
   exactly, in 64 bits. $name$_quantise(values, x) makes x of floats, and nothing else computes in
   floating point; NaN counts as the mean. The linker drops functions that are not called
   (-ffunction-sections -fdata-sections, -Wl,--gc-sections).
   Probabilities: uint16_t in units of 2^-15. Integer arithmetic, 32 bits at most; weights are
   int8_t, and four more bits of two in a byte.

//% endblock
*/

//% block interface
void $name$_quantise(const float *values, int16_t *x);
void $name$_quantise_raw(const int32_t *values, int16_t *x);
void $name$_step_raw($name$_state *state, const int32_t *values);
//% endblock

//% block functions
typedef struct {
    const int8_t *w;      /* the upper eight bits of each weight of twelve */
    const uint8_t *lower; /* the other four, two to a byte */
    const uint8_t *multiplier;
    uint8_t down, before, after;
    uint8_t odd; /* whether the next weight has the upper half of its byte */
} $name$_rows;

/* No initialiser: AVR would keep it in RAM. */
static $name$_rows $name$_rows_of(const int8_t *w, const uint8_t *lower, const uint8_t *multiplier,
                               uint8_t down, uint8_t before, uint8_t after)
{
    $name$_rows r;
    r.w = w;
    r.lower = lower;
    r.multiplier = multiplier;
    r.down = down;
    r.before = before;
    r.after = after;
    r.odd = 0;
    return r;
}

/* An arithmetic right shift. Compilers may choose how >> shifts a negative number; nearly all
   choose this. By 16, processors of 8 bits need not shift at all. */
#define $NAME$_SHIFT(a, bits) ((-1 >> 1) == -1 || (a) >= 0 ? (a) >> (bits) : ~(~(a) >> (bits)))

static int32_t $name$_shift(int32_t a, int bits)
{
    return $NAME$_SHIFT(a, bits);
}

static int32_t $name$_round(int32_t a, int bits)
{
    return $name$_shift(a + ((int32_t)1 << (bits - 1)), bits);
}

/* A part of a row of weights, of twelve bits, over one vector. */
static int32_t $name$_part($name$_rows *r, const int16_t *v, int n)
{
    const int8_t *w = r->w;
    const uint8_t *lower = r->lower;
    int32_t sum = 0;
    if (r->odd && n > 0) {
        sum = (int32_t)(int16_t)((int8_t)$NAME$_BYTE(w++) * 16 + ($NAME$_BYTE(lower++) >> 4)) * *v++;
        r->odd = 0;
        n--;
    }
    for (; n > 1; n -= 2) {
        uint8_t two = $NAME$_BYTE(lower++);
        sum += (int32_t)(int16_t)((int8_t)$NAME$_BYTE(w++) * 16 + (two & 15)) * *v++;
        sum += (int32_t)(int16_t)((int8_t)$NAME$_BYTE(w++) * 16 + (two >> 4)) * *v++;
    }
    if (n > 0) {
        sum += (int32_t)(int16_t)((int8_t)$NAME$_BYTE(w++) * 16 + ($NAME$_BYTE(lower) & 15)) * *v;
        r->odd = 1;
    }
    r->w = w;
    r->lower = lower;
    return sum;
}

static int32_t $name$_row($name$_rows *r, const int16_t *x, int n_x, const int16_t *h, int n_h)
{
    int32_t sum = $name$_part(r, x, n_x);
    sum += $name$_shift($name$_part(r, h, n_h), r->down);
    return $name$_round($name$_shift(sum, r->before) * $NAME$_BYTE(r->multiplier++), r->after);
}

/* Hidden states, and what a bias is multiplied by: one, of which only the negative fits. */
static void $name$_recall(const int16_t *h, int16_t *known)
{
    int j;
    for (j = 0; j < $size$; j++)
        known[j] = h[j];
    known[$size$] = -32767 - 1;
}

static int32_t $name$_sigmoid(int32_t a)
{
    int32_t size = a < 0 ? -a : a, value, bend, change;
    int16_t index, part, slope;
    if (size > $(n_values - 1) * 2 ** step$)
        size = $(n_values - 1) * 2 ** step$;
    index = (int16_t)((size * $2 ** (16 - step)$ + 32768) >> 16);
    part = (int16_t)(size - index * ((int32_t)1 << $step$));
    value = $NAME$_WORD($name$_table + index);
    /* Three terms of the series of s(-size): d = s (1 - s), d (1 - 2 s), d (1 - 6 d). */
    slope = (int16_t)((value * (65536 - value) + 32768) >> 16);
    change = (int32_t)(int16_t)(10922 - slope) * part * 2 + 32768;
    bend = 32768 - value - $NAME$_SHIFT(change, 16);
    change = bend * part * 2 + 32768;
    bend = 65536 - $NAME$_SHIFT(change, 16);
    change = (int32_t)slope * part * 8 + 32768;
    change = $NAME$_SHIFT(change, 16) * bend + 2048;
    change = $NAME$_SHIFT(change, 12);
    value = (128 * value - 2 * change + 128) >> 8;
    return a < 0 ? value : 32768 - value;
}

static int16_t $name$_narrow(int32_t h)
{
    return h > 32767 ? 32767 : (int16_t)h;
}

static int32_t $name$_tanh(int32_t a)
{
    return 2 * $name$_sigmoid(2 * a) - 32768;
}

//% if cell != "rnn"
/* a * gate / 2^15 of any a, rounded, in 32 bits. */
static int32_t $name$_times(int32_t a, int32_t gate)
{
    int32_t high = $NAME$_SHIFT(a, 16);
    uint32_t low = (uint32_t)(a - high * 65536) * (uint32_t)gate + 16384;
    return high * gate * 2 + (int32_t)(low >> 15);
}

//% endif
//% if cell == "rnn"
static void $name$_layer($name$_rows r, const int16_t *x, int n_x, int16_t *h)
//% else
static void $name$_layer($name$_rows r, const int16_t *x, int n_x, int16_t *h, int32_t *c)
//% endif
{
    int16_t known[$size + 1$]; /* every unit reads the old state of all */
    int j;
    $name$_recall(h, known);
    for (j = 0; j < $size$; j++) {
//% if cell == "lstm"
        int32_t enter = $name$_sigmoid($name$_row(&r, x, n_x, known, $size + 1$));
        int32_t keep = $name$_sigmoid($name$_row(&r, x, n_x, known, $size + 1$));
        int32_t candidate = $name$_tanh($name$_row(&r, x, n_x, known, $size + 1$));
        int32_t out = $name$_sigmoid($name$_row(&r, x, n_x, known, $size + 1$));
        c[j] = $name$_times(c[j], keep) + $name$_round(enter * candidate, $30 - memory_bits$);
        if (c[j] > $largest_memory$)
            c[j] = $largest_memory$;
        else if (c[j] < -$largest_memory$)
            c[j] = -$largest_memory$;
        candidate = $name$_tanh($name$_round(c[j], $memory_bits - 15$));
        h[j] = $name$_narrow($name$_round(out * candidate, 15));
//% elif cell == "gru"
        int32_t reset = $name$_sigmoid($name$_row(&r, x, n_x, known, $size + 1$));
        int32_t update = $name$_sigmoid($name$_row(&r, x, n_x, known, $size + 1$));
        int32_t candidate = $name$_row(&r, x, n_x, known + $size$, 1);
        candidate += $name$_times($name$_row(&r, x, 0, known, $size + 1$), reset);
        candidate = $name$_tanh(candidate) * $2 ** (memory_bits - 15)$;
        c[j] = candidate + $name$_times(c[j] - candidate, update);
        h[j] = $name$_narrow($name$_round(c[j], $memory_bits - 15$));
//% else
        h[j] = $name$_narrow($name$_tanh($name$_row(&r, x, n_x, known, $size + 1$)));
//% endif
    }
}

//% macro sums(block, rows)
$name$_rows_of($name$_$block$_w, $name$_$block$_lower, $name$_$block$_multiplier, $rows.down$, $rows.before$, $rows.after$)
//%- endmacro
static void $name$_scores(const $name$_state *state, int32_t *scores)
{
    $name$_rows r = $sums("head", head)$;
    int16_t known[$size + 1$];
    int k;
    $name$_recall(state->h[$n_layers - 1$], known);
    for (k = 0; k < $NAME$_CLASSES; k++)
        scores[k] = $name$_row(&r, known, 0, known, $size + 1$);
}

void $name$_step($name$_state *state, const int16_t *x)
{
//% for rows in layers
    $name$_rows r$loop.index0$ = $sums("layer_%d" % loop.index0, rows)$;
//% endfor
    $name$_layer(r0, x, $n_channels$, $fields | of_layer(0)$);
//% for layer in range(1, n_layers)
    $name$_layer(r$layer$, state->h[$layer - 1$], $size$, $fields | of_layer(layer)$);
//% endfor
}

void $name$_predict_proba(const $name$_state *state, uint16_t *proba)
{
    int32_t scores[$NAME$_CLASSES], top;
    uint32_t sum = 0;
    int k;
    $name$_scores(state, scores);
    top = scores[0];
    for (k = 1; k < $NAME$_CLASSES; k++)
        if (scores[k] > top)
            top = scores[k];
    for (k = 0; k < $NAME$_CLASSES; k++) {
        /* exp(-a) = sigmoid(-a) / sigmoid(a) */
        int32_t above = $name$_sigmoid(top - scores[k]);
        scores[k] = (32768 - above) * 32768 / above;
        sum += (uint32_t)scores[k];
    }
    for (k = 0; k < $NAME$_CLASSES; k++)
        proba[k] = (uint16_t)((uint32_t)scores[k] * 32768u / sum);
}

void $name$_quantise(const float *values, int16_t *x)
{
    int i;
    for (i = 0; i < $NAME$_CHANNELS; i++) {
        float value = values[i] - $NAME$_FLOAT($name$_offset + 2 * i);
        value = (value - $NAME$_FLOAT($name$_offset + 2 * i + 1)) * $NAME$_FLOAT($name$_gain + i);
        if (value != value)
            value = 0.0f;
        else if (value < -32768.0f)
            value = -32768.0f;
        else if (value > 32767.0f)
            value = 32767.0f;
        x[i] = (int16_t)(value < 0.0f ? value - 0.5f : value + 0.5f);
    }
}

void $name$_quantise_raw(const int32_t *values, int16_t *x)
{
    int i;
    for (i = 0; i < $NAME$_CHANNELS; i++) {
        int64_t value = (int64_t)values[i] - $NAME$_LONG($name$_origin + i);
        int bits = $NAME$_BYTE($name$_bits + i);
        value = value * $NAME$_LONG($name$_factor + i) + $NAME$_LONG($name$_rest + i);
        value += (int64_t)1 << (bits - 1);
        value = value < 0 ? ~(~value >> bits) : value >> bits;
        x[i] = (int16_t)(value < -32768 ? -32768 : value > 32767 ? 32767 : value);
    }
}

void $name$_step_raw($name$_state *state, const int32_t *values)
{
    int16_t x[$NAME$_CHANNELS];
    $name$_quantise_raw(values, x);
    $name$_step(state, x);
}

//% endblock

//% block mismatch
            if (proba[k] != $NAME$_WORD(expected++))
//% endblock
