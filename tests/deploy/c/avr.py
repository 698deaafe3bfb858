"""Bare-metal programs for AVR, built with GCC and run on simavr's ATmega328P."""

import re
import shutil
import subprocess

TOOLS = ["avr-gcc", "avr-size", "simavr"]
ABSENT = [tool for tool in TOOLS if not shutil.which(tool)]
CYCLES_A_TICK = 64

# Output goes to the serial port, which simavr prints; it stops at a sleep that nothing ends.
STARTUP = """
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include <stdint.h>

static void put(char c)
{
    while (!(UCSR0A & (1 << UDRE0)))
        ;
    UDR0 = (uint8_t)c;
}

void print(const char *name, long value)
{
    char digits[12], *p = digits + sizeof digits;
    unsigned long rest = value < 0 ? 0ul - (unsigned long)value : (unsigned long)value;
    while (*name)
        put(*name++);
    *--p = 0;
    do
        *--p = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        *--p = '-';
    while (*p)
        put(*p++);
    put('\\n');
}

uint16_t now(void) { return TCNT1; }

int program(void);

int main(void)
{
    UCSR0B = 1 << TXEN0;
    TCCR1B = 1 << CS11 | 1 << CS10; /* a tick every 64 cycles */
    print("result ", program());
    while (!(UCSR0A & (1 << TXC0)))
        ;
    cli();
    sleep_enable();
    sleep_cpu();
    return 0;
}
"""


def run(folder, program, timeout=600):
    """Compile and run a C program whose program() may call print(name, value) and now().

    Returns what it printed as a dict of lists of integers.
    """
    (folder / "startup.c").write_text(STARTUP)
    (folder / "program.c").write_text(program)
    subprocess.run(
        [TOOLS[0], "-mmcu=atmega328p", "-std=gnu99", "-Os", "-ffunction-sections",
         "-fdata-sections", "-Wl,--gc-sections", "program.c", "startup.c", "-lm",
         "-o", "program.elf"],
        cwd=folder, check=True,
    )  # fmt: skip
    done = subprocess.run(
        [TOOLS[2], "-m", "atmega328p", "-f", "16000000", "program.elf"],
        cwd=folder, capture_output=True, text=True, timeout=timeout, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    printed = {}
    text = re.sub("\x1b\\[[0-9;]*m", "", done.stdout + done.stderr)  # in colours
    for name, value in re.findall(r"^(\w+) (-?\d+)", text, re.MULTILINE):
        printed.setdefault(name, []).append(int(value))
    return printed


def linked(folder, program):
    """Bytes of flash and of static RAM of a program that brings its own main."""
    (folder / "linked.c").write_text(program)
    subprocess.run(
        [TOOLS[0], "-mmcu=atmega328p", "-std=gnu99", "-Os", "-ffunction-sections",
         "-fdata-sections", "-Wl,--gc-sections", "-nostartfiles", "-Wl,-e,main", "linked.c", "-lm",
         "-o", "linked.elf"],
        cwd=folder, check=True,
    )  # fmt: skip
    sections = _sections(folder / "linked.elf")
    data = sections.get("data", 0)
    return sections["text"] + data, data + sections.get("bss", 0)


def size(source, folder):
    """Bytes of flash and of static RAM of one C file, optimised for size."""
    out = folder / "size.o"
    command = [TOOLS[0], "-mmcu=atmega328p", "-std=c99", "-Os", "-c", source, "-o", out]
    subprocess.run(command, check=True)
    sections = _sections(out)
    # Constants that are not told otherwise are copied to RAM.
    ram = sum(n for name, n in sections.items() if name.split(".")[0] in ("data", "rodata", "bss"))
    code = sum(n for name, n in sections.items() if name.split(".")[0] in ("text", "progmem"))
    return code + ram, ram


def _sections(file):
    text = subprocess.run([TOOLS[1], "-A", file], capture_output=True, text=True, check=True).stdout
    return {name: int(n) for name, n in re.findall(r"^\.(\S+) +(\d+)", text, re.MULTILINE)}
