// An IOMMU group: the devices that the IOMMU cannot tell apart, and so the smallest thing that user space is given.
import { closeSync, openSync } from "node:fs";
import { PollmodeError } from "../../errors.ts";
import type { PciDevice } from "../pci/scan.ts";
import { getDeviceFd, isViable, setContainer, unsetContainer } from "./calls.ts";
import { cannotOpen, noRawIo, notViable, tokenMissing, tokenWrong } from "./errors.ts";
import type { GroupOfDevice, System } from "./system.ts";

/** What opening a device takes: a mediated device is named by its UUID, and has none of the rest. */
type GroupMember = Pick<PciDevice, "address" | "physicalFunction" | "sriov">;

export class VfioGroup {
  readonly number: number;
  readonly noIommu: boolean;
  readonly fd: number;
  private readonly node: string;
  private readonly system: System;
  private closed = false;

  private constructor(group: GroupOfDevice, fd: number, system: System) {
    this.number = group.number;
    this.noIommu = group.noIommu;
    this.node = system.groupNode(group);
    this.fd = fd;
    this.system = system;
  }

  /** Opens the group of the device at `address`, if all of it is free for user space. One process has a group. */
  static open(group: GroupOfDevice, address: string, system: System): VfioGroup {
    const node = system.groupNode(group);
    if (group.noIommu && !system.canRawIo) throw noRawIo(address, node);
    let fd: number;
    try {
      fd = openSync(node, "r+");
    } catch (error) {
      throw cannotOpen(node, (error as NodeJS.ErrnoException).code ?? "EIO", address, system);
    }
    try {
      if (!isViable(fd, node)) throw notViable(address, group.number, system);
      return new VfioGroup(group, fd, system);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  setContainer(container: number): void {
    setContainer(this.fd, container, this.node);
  }

  /** The kernel has done it itself (EINVAL) where a device that was asked to go has just gone. */
  unsetContainer(): void {
    try {
      unsetContainer(this.fd, this.node);
    } catch (error) {
      if (!(error instanceof PollmodeError) || !["EINVAL", "ENODEV"].includes(error.code)) throw error;
    }
  }

  /** The fd of a device of the group, which is attached to a container. `token`: the user's VF token. */
  openDevice(device: GroupMember, token: string | undefined): number {
    const { address } = device;
    const other = this.tokenPartner(device);
    const given = other === undefined ? undefined : token;
    try {
      return getDeviceFd(this.fd, given === undefined ? address : `${address} vf_token=${given}`, address);
    } catch (error) {
      if (!(error instanceof PollmodeError)) throw error;
      if (error.code === "EBUSY") throw cannotOpen(this.node, error.code, address, this.system);
      if (error.code !== "EACCES" || other === undefined) throw error;
      throw given === undefined ? tokenMissing(address, other) : tokenWrong(address, given, other);
    }
  }

  /**
   * Who a device shares a VF token with; undefined where a token would be an error (EINVAL). As the kernel's
   * vfio_pci_validate_vf_token has it: a VF whose PF is bound to vfio-pci has to give the PF's token. A PF sets the
   * token, or has to give the current one while VFs of it are in use.
   */
  private tokenPartner(device: GroupMember): string | undefined {
    const { physicalFunction: pf, sriov } = device;
    if (pf === undefined) return sriov && "one of its virtual functions";
    return this.system.driverOf(pf) === "vfio-pci" ? pf : undefined;
  }

  /** Of a group that is in no container. Twice does nothing. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    closeSync(this.fd);
  }
}
