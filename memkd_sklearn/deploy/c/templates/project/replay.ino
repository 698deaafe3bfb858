// Runs the self-test, replays series, and says on the serial line what $name$ makes of them.

//% if kind == "platformio"
#include <Arduino.h>
//% endif
#include <$name$.h>

#include "series.h"

//% if window
static $name$_stream stream;
//% else
static $name$_state state;
//% endif
static int at = 0;

static void say(int label, int expected)
{
    Serial.print(": ");
    Serial.print($name$_labels[label]);
    Serial.println(label == expected ? "" : ", but Python says otherwise");
}

void setup()
{
    Serial.begin(115200);
    Serial.print("self-test: ");
    Serial.print($name$_self_test());
    Serial.println(" differences");
}

void loop()
{
    const $name$_input *values = series + (long)at * SERIES_STEPS * $NAME$_CHANNELS;
    const int *expected = series_labels + at * ANSWERS;
    $name$_input x[$NAME$_CHANNELS];
//% if window
    $name$_stream_reset(&stream);
//% else
    $name$_reset(&state);
//% endif
    for (int t = 0; t < SERIES_STEPS; t++) {
        for (int i = 0; i < $NAME$_CHANNELS; i++) // with a sensor: its reading$", quantised" if dtype == "int8" else ""$
            x[i] = ($name$_input)SERIES_READ(values++);
//% if window
        const $name$_state *ended = $name$_stream_step(&stream, x);
        if (ended) {
            Serial.print("series ");
            Serial.print(at);
            Serial.print(", step ");
            Serial.print(t);
            say($name$_predict(ended), *expected++);
        }
    }
//% else
        $name$_step(&state, x);
    }
    Serial.print("series ");
    Serial.print(at);
    say($name$_predict(&state), *expected);
//% endif
    at = (at + 1) % SERIES;
}
