// Runs the self-test, replays series, and says on the serial line what $name$ makes of them.

//% if kind == "platformio"
#include <Arduino.h>
//% endif
#include <$name$.h>

#include "series.h"

static $name$_state state;
static int at = 0;

void setup()
{
    Serial.begin(115200);
    Serial.print("self-test: ");
    Serial.print($name$_self_test());
    Serial.println(" differences");
}

void loop()
{
    $name$_input x[$NAME$_CHANNELS];
    $name$_reset(&state);
    for (int t = 0; t < SERIES_STEPS; t++) {
        for (int i = 0; i < $NAME$_CHANNELS; i++) // with a sensor: its reading
            x[i] = ($name$_input)SERIES_READ(series + ((long)at * SERIES_STEPS + t) * $NAME$_CHANNELS + i);
        $name$_step(&state, x);
    }
    int label = $name$_predict(&state);
    Serial.print("series ");
    Serial.print(at);
    Serial.print(": ");
    Serial.print($name$_labels[label]);
    Serial.println(label == series_labels[at] ? "" : ", but Python says otherwise");
    at = (at + 1) % SERIES;
}
