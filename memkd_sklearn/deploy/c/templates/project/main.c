/* Runs the self-test, replays series, and says what $name$ makes of them. */

#include <stdio.h>

#include "$name$.h"
#include "series.h"

int main(void)
{
    const $name$_input *values = series;
    $name$_state state;
    int i, t, label, differences = $name$_self_test();
    printf("self-test: %d differences\n", differences);
    for (i = 0; i < SERIES; i++) {
        $name$_reset(&state);
        for (t = 0; t < SERIES_STEPS; t++) {
            $name$_step(&state, values); /* with a sensor: its reading */
            values += $NAME$_CHANNELS;
        }
        label = $name$_predict(&state);
        differences += label != series_labels[i];
        printf("series %d: %s\n", i, $name$_labels[label]);
    }
    return differences != 0;
}
