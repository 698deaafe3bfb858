/* Series to replay, one value a channel and time step, and Python's answers. */

#ifdef __AVR__
#include <avr/pgmspace.h>
#define SERIES_FLASH PROGMEM
#define SERIES_READ(at) $"pgm_read_float" if input_type == "float" else "pgm_read_word"$(at)
#else
#define SERIES_FLASH
#define SERIES_READ(at) (*(at))
#endif

#define SERIES $n_series$
#define SERIES_STEPS $n_steps$
#define ANSWERS $expected | length // n_series$ /* a series */

static const $name$_input series[$values | length$] SERIES_FLASH = {
    $values | wrapped(4)$
};

static const int series_labels[SERIES * ANSWERS] = {
    $expected | map("string") | wrapped(4)$
};
