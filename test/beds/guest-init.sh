#!/bin/busybox sh
# Process 1 of the guest bed: loads virtio_net, configures its interface, pings the backend's application, reports
# and powers off. Its parameters are the words `bed.NAME=VALUE` on the kernel's command line (guest.ts writes them).
# Lines that begin with "@bed" are for guest.ts to read.
/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev

finish() {
  echo "@bed end $*"
  poweroff -f
  sleep 60 # never let process 1 return
}

# How many echo replies have reached the kernel's ICMP, their checksums verified.
replies() {
  awk '/^IcmpMsg:/ && !named { named = split($0, names); next } # a line of names, then one of values
    /^IcmpMsg:/ { for (i in names) if (names[i] == "InType0") print $i }' /proc/net/snmp
}

for word in $(cat /proc/cmdline); do
  case $word in bed.*=*) name=${word%%=*}; eval "${name#bed.}=\${word#*=}" ;; esac
done
for module in $(cat /modules/order); do
  insmod "/modules/$module" || finish "insmod $module failed"
done
[ -e /sys/class/net/eth0 ] || finish "no eth0: virtio_net found no device"

echo "@bed up $(cut -d' ' -f1 /proc/uptime)"
echo "@bed features $(cat /sys/class/net/eth0/device/features)"
ip link set lo up
[ -z "$mtu" ] || ip link set eth0 mtu "$mtu" || finish "mtu $mtu refused"
if [ -n "$channels" ]; then
  ethtool -L eth0 combined "$channels" || finish "ethtool -L eth0 combined $channels failed"
fi
ip addr add "$address" dev eth0
ip link set eth0 up
for _ in $(seq 50); do
  [ "$(cat /sys/class/net/eth0/carrier)" = 1 ] && break
  usleep 100000
done
echo "@bed queues $(ls -d /sys/class/net/eth0/queues/rx-* | wc -l)"
echo "@bed carrier $(cat /sys/class/net/eth0/carrier) $(cat /sys/class/net/eth0/address)"

# pings: cpu:arguments,of,ping;the next …
number=0
for request in $(echo "$pings" | tr ';' ' '); do
  cpu=${request%%:*}
  arguments=$(echo "${request#*:}" | tr ',' ' ')
  echo "@bed ping $number begin"
  before=$(($(replies) + 0))
  taskset -c "$cpu" /bin/iputils-ping $arguments "$peer" >/tmp/ping 2>&1
  status=$?
  grep -c 'wrong data byte' /tmp/ping | sed 's/^/wrong data: /'
  grep -E -m 3 -A 8 'wrong data byte|BAD CHECKSUM' /tmp/ping
  tail -n 5 /tmp/ping
  # After its last request ping waits no longer than twice the longest round trip; a busy host may need more.
  sent=$(sed -n 's/ packets transmitted.*//p' /tmp/ping)
  for _ in $(seq 20); do
    [ $(($(replies) - before)) -ge "${sent:-0}" ] && break
    usleep 100000
  done
  echo "replies: $(($(replies) - before))"
  echo "@bed ping $number status $status"
  number=$((number + 1))
done

ethtool -S eth0 | sed -n 's/^ *\([rt]x_queue_[0-9]*_packets\): /@bed counter \1 /p'
for counter in rx_packets tx_packets rx_errors rx_dropped tx_errors tx_dropped; do
  echo "@bed counter $counter $(cat /sys/class/net/eth0/statistics/$counter)"
done
finish ok
