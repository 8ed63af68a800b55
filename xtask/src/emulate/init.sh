#!/bin/busybox sh
# The only process of the emulated machine: says what it runs on, runs every test program, switches off.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs devices /dev
exec >/dev/ttyS0 2>&1 </dev/null
stty -F /dev/ttyS0 -onlcr
grep -m 1 'model name' /proc/cpuinfo
grep -m 1 flags /proc/cpuinfo | tr ' ' '\n' | grep -E '^(avx|amx|fma)' | xargs echo "with"
# Variables for the tests, and the words that every test program is given.
. /settings
# Tests that visit every instruction set would pass this one over without a word.
failed=
tr -d _ </proc/cpuinfo | grep -q "flags.* $ATTENDANT_ISA" || failed=" no $ATTENDANT_ISA here,"
for program in /programs/*; do
    echo "-- ${program##*/}"
    "$program" "$@" || failed="$failed ${program##*/}"
done
if [ -z "$failed" ]; then echo "== every program passed"; else echo "== failed:$failed"; fi
# What is left in the buffer of the serial port when the machine goes off is lost.
sleep 2
poweroff -f
