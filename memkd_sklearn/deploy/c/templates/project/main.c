/* Runs the self-test, replays series, and prints $name$'s answers. */

#include <stdio.h>

#include "$name$.h"
#include "series.h"

//% if window
static $name$_stream stream;
//% else
static $name$_state state;
//% endif
$""$
int main(void)
{
    const $name$_input *values = series;
    const int *expected = series_labels;
    $name$_input x[$NAME$_CHANNELS];
    int i, t, k, label, differences = $name$_self_test();
    printf("self-test: %d differences\n", differences);
    for (i = 0; i < SERIES; i++) {
//% if window
        $name$_stream_reset(&stream);
//% else
        $name$_reset(&state);
//% endif
        for (t = 0; t < SERIES_STEPS; t++) {
//% if window
            const $name$_state *ended;
//% endif
            for (k = 0; k < $NAME$_CHANNELS; k++) /* with a sensor: its reading$", quantised" if dtype == "int8" else ""$ */
                x[k] = ($name$_input)SERIES_READ(values++);
//% if window
            ended = $name$_stream_step(&stream, x);
            if (ended) {
                label = $name$_predict(ended);
                differences += label != *expected++;
                printf("series %d, step %d: %s\n", i, t, $name$_labels[label]);
            }
        }
//% else
            $name$_step(&state, x);
        }
        label = $name$_predict(&state);
        differences += label != *expected++;
        printf("series %d: %s\n", i, $name$_labels[label]);
//% endif
    }
    return differences != 0;
}
