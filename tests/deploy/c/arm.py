"""Bare-metal programs for Cortex-M, built with GCC and run on QEMU's boards."""

import re
import shutil
import subprocess
from dataclasses import dataclass

TOOLS = ["arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm"]
ABSENT = [tool for tool in TOOLS if not shutil.which(tool)]


@dataclass(frozen=True)
class Board:
    """A machine that QEMU emulates and the processor that code is compiled for."""

    machine: str
    cpu: list
    ticks_per_second: int


# QEMU has no M0+; the M0 runs the same instructions.
M0PLUS = Board("microbit", ["-mcpu=cortex-m0plus"], 16_000_000)
M4F = Board("mps2-an386", ["-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"], 25_000_000)

LINKER_SCRIPT = """
MEMORY { FLASH (rx) : ORIGIN = 0, LENGTH = 256K  RAM (rwx) : ORIGIN = 0x20000000, LENGTH = 16K }
SECTIONS {
    .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) } > FLASH
    .ARM.exidx : { *(.ARM.exidx*) } > FLASH
    .data : { *(.data*) } > RAM
    .bss : { *(.bss*) *(COMMON) } > RAM
}
ENTRY(start)
"""

# Output goes through semihosting: the debugger's (here QEMU's) service calls.
STARTUP = """
#include <stdint.h>

static int call(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void print(const char *name, long value)
{
    char digits[24], *p = digits + sizeof digits;
    unsigned long rest = value < 0 ? 0ul - (unsigned long)value : (unsigned long)value;
    *--p = 0;
    *--p = '\\n';
    do
        *--p = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0)
        *--p = '-';
    call(4, name);
    call(4, p);
}

/* SysTick counts down; under -icount it counts instructions, at a rate of its own. */
#define SYSTICK ((volatile uint32_t *)0xe000e010)
uint32_t now(void) { return 0xffffff - SYSTICK[2]; }

int main(void);

void start(void)
{
#ifdef __ARM_FP
    *(volatile uint32_t *)0xe000ed88 |= 0xf << 20;
    __asm__ volatile("dsb\\nisb");
#endif
    SYSTICK[1] = 0xffffff;
    SYSTICK[2] = 0;
    SYSTICK[0] = 5;
    print("result ", main());
    call(0x18, (const void *)0x20026); /* exit */
    for (;;)
        ;
}

static void fault(void)
{
    print("fault ", 1);
    call(0x18, (const void *)0x20023);
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))0x20004000, start, fault, fault, fault, fault, fault,
};
"""


def run(board, folder, program, timeout=600):
    """Compile and run a C program that may call print(name, value) and now().

    Returns what it printed as a dict of lists of integers.
    """
    (folder / "link.ld").write_text(LINKER_SCRIPT)
    (folder / "startup.c").write_text(STARTUP)
    (folder / "program.c").write_text(program)
    flags = [
        "-std=gnu99",
        "-mthumb",
        "-Os",
        "-ffunction-sections",
        "-fdata-sections",
        "-Wl,-gc-sections",
    ]
    subprocess.run(
        [TOOLS[0], *board.cpu, *flags, "-nostartfiles", "-T", "link.ld", "program.c", "startup.c",
         "-lm", "-o", "program.elf"],
        cwd=folder, check=True,
    )  # fmt: skip
    done = subprocess.run(
        [TOOLS[2], "-M", board.machine, "-nographic", "-icount", "shift=0", "-semihosting-config",
         "enable=on,target=native", "-kernel", "program.elf"],
        cwd=folder, capture_output=True, text=True, timeout=timeout, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    printed = {}
    for name, value in re.findall(r"^(\w+) (-?\d+)$", done.stdout + done.stderr, re.MULTILINE):
        printed.setdefault(name, []).append(int(value))
    return printed


def linked(board, folder, program):
    """Bytes of flash and of static RAM of a program that brings its own main."""
    (folder / "link.ld").write_text(LINKER_SCRIPT)
    (folder / "linked.c").write_text(program)
    subprocess.run(
        [TOOLS[0], *board.cpu, "-std=gnu99", "-mthumb", "-Os", "-ffunction-sections",
         "-fdata-sections", "-Wl,-gc-sections", "-nostartfiles", "-T", "link.ld", "-Wl,-e,main",
         "linked.c", "-lm", "-o", "linked.elf"],
        cwd=folder, check=True,
    )  # fmt: skip
    return _sizes(folder / "linked.elf")


def size(board, source, folder):
    """Bytes of flash (code and constants) and of static RAM of one C file, optimised for size."""
    out = folder / "size.o"
    subprocess.run(
        [TOOLS[0], *board.cpu, "-std=c99", "-mthumb", "-Os", "-c", source, "-o", out], check=True
    )
    return _sizes(out)


def _sizes(file):
    text = subprocess.run([TOOLS[1], file], capture_output=True, text=True, check=True).stdout
    flash, data, bss = (int(word) for word in text.splitlines()[1].split()[:3])
    return flash + data, data + bss
