#!/bin/bash
# Process 1 of the lab's guest from its real root on: the file systems and modules that programs expect, hugepages,
# then the agent (agent.ts), which runs what the host asks for. Its parameters are the words `lab.NAME=VALUE` on the
# kernel's command line, percent-encoded (boot.ts writes them).
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=linux

fail() {
  echo "@lab failed: $*"
  echo o > /proc/sysrq-trigger
  sleep 60 # never let process 1 return
}

declare -A lab
for word in $(cat /proc/cmdline); do
  if [[ $word == lab.*=* ]]; then
    name=${word%%=*}
    value=${word#*=}
    printf -v value '%b' "${value//%/\\x}"
    lab[${name#lab.}]=$value
  fi
done

release=$(uname -r)
mkdir -p "/lib/modules/$release" /dev/pts /dev/shm /dev/hugepages /run/lock
mount --bind "${lab[modules]}/$release" "/lib/modules/$release" || fail "no modules in ${lab[modules]}"
mount -t devpts -o ptmxmode=666,mode=620,gid=5 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t hugetlbfs hugetlbfs /dev/hugepages
mount -t debugfs debugfs /sys/kernel/debug 2> /dev/null
ln -sfn /proc/self/fd /dev/fd
ip link set lo up
echo lab > /proc/sys/kernel/hostname
echo "${lab[hugepages]}" > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages

modprobe virtio_console || fail "modprobe virtio_console"
port=
for _ in {1..100}; do
  for folder in /sys/class/virtio-ports/*; do
    [ "$(cat "$folder/name" 2> /dev/null)" = pollmode.agent ] && port=/dev/${folder##*/}
  done
  [ -n "$port" ] && break
  sleep 0.05
done
[ -n "$port" ] || fail "no virtio port pollmode.agent"
# Threads for file operations: one always waits for the port, and a write to sysfs may block another.
UV_THREADPOOL_SIZE=16 "${lab[node]}" "${lab[agent]}" "$port"
fail "the agent ended with status $?"
