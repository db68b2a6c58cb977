#!/bin/bash
# bind.sh ADDRESS DRIVER, in the lab's guest: binds a PCI function to a driver ("none": to no driver), by
# driver_override alone, so that other devices of the same model keep theirs. The kernel then asks the driver no more
# whether it knows the device, and a driver of another model may hang.
device=/sys/bus/pci/devices/$1

fail() {
  echo "$*" >&2
  exit 1
}

[ -e "$device" ] || fail "there is no PCI device $1"
case $2 in
  none) ;;
  vfio-pci)
    modprobe vfio-pci || fail "modprobe vfio-pci failed"
    # Without an IOMMU a device gets a group of its own in this mode only.
    [ -n "$(ls /sys/class/iommu)" ] || echo Y > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode
    ;;
  virtio-pci) modprobe -a virtio_pci virtio_net || fail "modprobe virtio_net failed" ;;
  *) modprobe "$2" || fail "modprobe $2 failed" ;;
esac
echo "$2" > "$device/driver_override"
[ ! -e "$device/driver" ] || echo "$1" > "$device/driver/unbind"
[ "$2" != none ] || exit 0
echo "$1" > /sys/bus/pci/drivers_probe
bound=$(readlink "$device/driver")
[ "${bound##*/}" = "$2" ] || fail "$1 is bound to ${bound:-no driver}: $(dmesg | tail -n 3)"
