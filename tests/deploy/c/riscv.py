"""Bare-metal programs for RISC-V, built with GCC and run on QEMU's virtual board."""

import re
import shutil
import subprocess

TOOLS = ["riscv64-unknown-elf-gcc", "riscv64-unknown-elf-size", "qemu-system-riscv32"]
ABSENT = [tool for tool in TOOLS if not shutil.which(tool)]
# Integers, multiplication and compressed instructions, without an FPU: an ESP32-C3's.
CPU = ["-march=rv32imac", "-mabi=ilp32", "--specs=picolibc.specs"]

LINKER_SCRIPT = """
MEMORY { RAM (rwx) : ORIGIN = 0x80000000, LENGTH = 1M }
SECTIONS {
    .text : { KEEP(*(.start)) *(.text*) *(.rodata*) *(.srodata*) } > RAM
    .data : { *(.data*) *(.sdata*) } > RAM
    .bss : { *(.bss*) *(.sbss*) *(COMMON) } > RAM
    stack_top = ORIGIN(RAM) + LENGTH(RAM);
}
ENTRY(start)
"""

# Output goes to the serial port; a store to the board's test device ends the run.
STARTUP = """
#include <stdint.h>

static void put(char c) { *(volatile uint8_t *)0x10000000 = (uint8_t)c; }

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

uint32_t now(void)
{
    uint32_t count;
    __asm__ volatile(".option arch, +zicsr\\n csrr %0, minstret" : "=r"(count));
    return count;
}

int main(void);

void run_main(void)
{
    print("result ", main());
    *(volatile uint32_t *)0x100000 = 0x5555;
    for (;;)
        ;
}

__attribute__((naked, section(".start"))) void start(void)
{
    __asm__ volatile("la sp, stack_top\\n j run_main");
}
"""


def run(folder, program, timeout=600):
    """Compile and run a C program that may call print(name, value) and now(), in instructions.

    Returns what it printed as a dict of lists of integers.
    """
    (folder / "link.ld").write_text(LINKER_SCRIPT)
    (folder / "startup.c").write_text(STARTUP)
    (folder / "program.c").write_text(program)
    subprocess.run(
        [TOOLS[0], *CPU, "-std=gnu99", "-Os", "-ffunction-sections", "-fdata-sections",
         "-Wl,-gc-sections", "-nostartfiles", "-T", "link.ld", "program.c", "startup.c", "-lm",
         "-o", "program.elf"],
        cwd=folder, check=True,
    )  # fmt: skip
    done = subprocess.run(
        [TOOLS[2], "-M", "virt", "-bios", "none", "-nographic", "-icount", "shift=0",
         "-kernel", "program.elf"],
        cwd=folder, capture_output=True, text=True, timeout=timeout, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    printed = {}
    for name, value in re.findall(r"^(\w+) (-?\d+)", done.stdout + done.stderr, re.MULTILINE):
        printed.setdefault(name, []).append(int(value))
    return printed


def linked(folder, program):
    """Bytes of flash and of static RAM of a program that brings its own main."""
    (folder / "link.ld").write_text(LINKER_SCRIPT)
    (folder / "linked.c").write_text(program)
    subprocess.run(
        [TOOLS[0], *CPU, "-std=gnu99", "-Os", "-ffunction-sections", "-fdata-sections",
         "-Wl,-gc-sections", "-nostartfiles", "-T", "link.ld", "-Wl,-e,main", "linked.c", "-lm",
         "-o", "linked.elf"],
        cwd=folder, check=True,
    )  # fmt: skip
    return _sizes(folder / "linked.elf")


def size(source, folder):
    """Bytes of flash and of static RAM of one C file, optimised for size."""
    out = folder / "size.o"
    subprocess.run([TOOLS[0], *CPU, "-std=c99", "-Os", "-c", source, "-o", out], check=True)
    return _sizes(out)


def _sizes(file):
    text = subprocess.run([TOOLS[1], file], capture_output=True, text=True, check=True).stdout
    flash, data, bss = (int(word) for word in text.splitlines()[1].split()[:3])
    return flash + data, data + bss
