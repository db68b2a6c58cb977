// Reads an image of a device's configuration space: what the device can (interrupts, resets, virtual functions) and how
// it stands. The image comes from a device that may be broken or gone (all ones): nothing in it is believed.
import { PollmodeError } from "../../errors.ts";
import * as regs from "./registers.ts";

export interface Capability {
  readonly id: number;
  readonly offset: number;
}

export interface MsiCapability {
  readonly offset: number;
  readonly vectors: number;
  readonly is64Bit: boolean;
  readonly hasMask: boolean;
  readonly isEnabled: boolean;
}

export interface MsixCapability {
  readonly offset: number;
  readonly vectors: number;
  /** BAR and offset in it of the vectors' table. */
  readonly tableBar: number;
  readonly tableOffset: number;
  /** The same of the pending bit array. */
  readonly pbaBar: number;
  readonly pbaOffset: number;
  readonly isEnabled: boolean;
  readonly isMasked: boolean;
}

export interface ExpressCapability {
  readonly offset: number;
  /** Device/Port Type: 0 endpoint, 4 root port, … */
  readonly type: number;
  readonly hasFlr: boolean;
  /** Link speeds: 1 is 2.5 GT/s, each further one the next of 5, 8, 16, 32, 64 GT/s. 0: no link, as of VFs. */
  readonly linkSpeedMax: number;
  readonly linkSpeed: number;
  /** Lanes. */
  readonly linkWidthMax: number;
  readonly linkWidth: number;
}

export interface SriovCapability {
  readonly offset: number;
  readonly totalVfs: number;
  readonly numVfs: number;
  /** Routing IDs (bus, device, function): from the physical function to VF 0, and from one VF to the next. */
  readonly vfOffset: number;
  readonly vfStride: number;
  readonly vfDevice: number;
  readonly isEnabled: boolean;
}

/** Access Control Services: whether a port or a function keeps what is below or beside it from each other. */
export interface AcsCapability {
  readonly offset: number;
  /** PCI_ACS_SV, PCI_ACS_RR, …: what it can be told, and what it was told. */
  readonly capabilities: number;
  readonly control: number;
}

export interface ConfigSpace {
  readonly vendor: number;
  readonly device: number;
  /** PCI_COMMAND and PCI_STATUS as they are. */
  readonly command: number;
  readonly status: number;
  readonly memoryEnabled: boolean;
  readonly busMaster: boolean;
  readonly intxDisabled: boolean;
  /** Base class, sub-class, programming interface. */
  readonly class: number;
  readonly revision: number;
  /** 0 device, 1 bridge, 2 CardBus. */
  readonly headerType: number;
  /** The device may have more functions than this one. */
  readonly isMultiFunction: boolean;
  /** 1 INTA to 4 INTD; 0: it has no INTx. */
  readonly interruptPin: number;
  readonly capabilities: readonly Capability[];
  readonly extendedCapabilities: readonly Capability[];
  readonly msi: MsiCapability | undefined;
  readonly msix: MsixCapability | undefined;
  readonly express: ExpressCapability | undefined;
  readonly sriov: SriovCapability | undefined;
  readonly acs: AcsCapability | undefined;
  /** Can be reset by itself: function level reset, by PCI Express or by Advanced Features. */
  readonly hasFlr: boolean;
  /** False where capabilities lie beyond the image's end: an ordinary user is given 64 bytes. */
  readonly isComplete: boolean;
}

/** `image`: 64 bytes or more, as sysfs gives them (64, 256 or 4096). Throws PCI_CONFIG if it is shorter. */
export function parseConfigSpace(image: Buffer): ConfigSpace {
  if (image.length < regs.PCI_STD_HEADER_SIZEOF) {
    const message = `configuration space of ${image.length} bytes: its header alone has 64`;
    throw new PollmodeError("PCI_CONFIG", message, "see whether the device is still there");
  }
  const command = image.readUInt16LE(regs.PCI_COMMAND);
  const status = image.readUInt16LE(regs.PCI_STATUS);
  const classRevision = image.readUInt32LE(regs.PCI_CLASS_REVISION);
  const vendor = image.readUInt16LE(regs.PCI_VENDOR_ID);
  const isGone = vendor === 0xffff; // no device answers: all ones
  const capabilities = isGone ? [] : capabilitiesOf(image, status);
  const extendedCapabilities = isGone ? [] : extendedCapabilitiesOf(image);
  const parsed = parserOf(image);
  const express = parsed(capabilities, regs.PCI_CAP_ID_EXP, 0x14, parseExpress);
  const hasAfFlr = parsed(capabilities, regs.PCI_CAP_ID_AF, 6, parseAfFlr) ?? false;
  return {
    vendor,
    device: image.readUInt16LE(regs.PCI_DEVICE_ID),
    command,
    status,
    memoryEnabled: (command & regs.PCI_COMMAND_MEMORY) !== 0,
    busMaster: (command & regs.PCI_COMMAND_MASTER) !== 0,
    intxDisabled: (command & regs.PCI_COMMAND_INTX_DISABLE) !== 0,
    class: classRevision >>> 8,
    revision: classRevision & 0xff,
    headerType: headerTypeOf(image),
    isMultiFunction: (image.readUInt8(regs.PCI_HEADER_TYPE) & MULTI_FUNCTION) !== 0,
    interruptPin: image.readUInt8(regs.PCI_INTERRUPT_PIN),
    capabilities,
    extendedCapabilities,
    msi: parsed(capabilities, regs.PCI_CAP_ID_MSI, 4, parseMsi),
    msix: parsed(capabilities, regs.PCI_CAP_ID_MSIX, 12, parseMsix),
    express,
    sriov: parsed(extendedCapabilities, regs.PCI_EXT_CAP_ID_SRIOV, 0x1c, parseSriov),
    acs: parsed(extendedCapabilities, regs.PCI_EXT_CAP_ID_ACS, 8, parseAcs),
    hasFlr: hasAfFlr || (express?.hasFlr ?? false),
    isComplete: isGone || isComplete(image, status, capabilities),
  };
}

/** Of PCI_HEADER_TYPE; older kernels' headers have no name for it. */
const MULTI_FUNCTION = 0x80;

/** Without the bit that says that the device has more functions. */
function headerTypeOf(image: Buffer): number {
  return image.readUInt8(regs.PCI_HEADER_TYPE) & ~MULTI_FUNCTION;
}

/** Where the chain of capabilities begins; 0: there is none. The two low bits are reserved. */
function firstCapability(image: Buffer, status: number): number {
  if ((status & regs.PCI_STATUS_CAP_LIST) === 0) return 0;
  const isCardbus = headerTypeOf(image) === regs.PCI_HEADER_TYPE_CARDBUS;
  return image.readUInt8(isCardbus ? regs.PCI_CB_CAPABILITY_LIST : regs.PCI_CAPABILITY_LIST) & ~3;
}

/** Up to the chain's end, a loop, an offset within the header, or the image's end. */
function capabilitiesOf(image: Buffer, status: number): Capability[] {
  const found = new Map<number, Capability>();
  const end = Math.min(image.length, regs.PCI_CFG_SPACE_SIZE);
  let offset = firstCapability(image, status);
  while (offset >= regs.PCI_STD_HEADER_SIZEOF && offset < end && !found.has(offset)) {
    const id = image.readUInt8(offset + regs.PCI_CAP_LIST_ID);
    if (id === 0xff) break;
    found.set(offset, { id, offset });
    offset = image.readUInt8(offset + regs.PCI_CAP_LIST_NEXT) & ~3;
  }
  return [...found.values()];
}

/** Headers of 32 bits: identifier (16), version (4), next offset (12). The first is at 256, be it empty. */
function extendedCapabilitiesOf(image: Buffer): Capability[] {
  const found = new Map<number, Capability>();
  let offset: number = regs.PCI_CFG_SPACE_SIZE;
  while (offset >= regs.PCI_CFG_SPACE_SIZE && offset + 4 <= image.length && !found.has(offset)) {
    const header = image.readUInt32LE(offset);
    if (header === 0 || header === 0xffff_ffff) break;
    found.set(offset, { id: header & 0xffff, offset });
    offset = (header >>> 20) & 0xffc;
  }
  return [...found.values()];
}

function isComplete(image: Buffer, status: number, capabilities: readonly Capability[]): boolean {
  if (image.length >= regs.PCI_CFG_SPACE_EXP_SIZE) return true;
  if (firstCapability(image, status) === 0) return true;
  const isExpress = capabilities.some(({ id }) => id === regs.PCI_CAP_ID_EXP);
  return image.length >= regs.PCI_CFG_SPACE_SIZE && !isExpress;
}

/** Parses a capability that the device has and that lies in the image as a whole. */
function parserOf(image: Buffer) {
  return <T>(
    list: readonly Capability[],
    wanted: number,
    bytes: number,
    parse: (image: Buffer, offset: number) => T,
  ): T | undefined => {
    const found = list.find(({ id }) => id === wanted);
    return found && found.offset + bytes <= image.length ? parse(image, found.offset) : undefined;
  };
}

function parseMsi(image: Buffer, offset: number): MsiCapability {
  const flags = image.readUInt16LE(offset + regs.PCI_MSI_FLAGS);
  return {
    offset,
    vectors: 1 << ((flags & regs.PCI_MSI_FLAGS_QMASK) >> 1),
    is64Bit: (flags & regs.PCI_MSI_FLAGS_64BIT) !== 0,
    hasMask: (flags & regs.PCI_MSI_FLAGS_MASKBIT) !== 0,
    isEnabled: (flags & regs.PCI_MSI_FLAGS_ENABLE) !== 0,
  };
}

function parseMsix(image: Buffer, offset: number): MsixCapability {
  const flags = image.readUInt16LE(offset + regs.PCI_MSIX_FLAGS);
  const table = image.readUInt32LE(offset + regs.PCI_MSIX_TABLE);
  const pba = image.readUInt32LE(offset + regs.PCI_MSIX_PBA);
  return {
    offset,
    vectors: (flags & regs.PCI_MSIX_FLAGS_QSIZE) + 1,
    tableBar: table & regs.PCI_MSIX_TABLE_BIR,
    tableOffset: (table & ~regs.PCI_MSIX_TABLE_BIR) >>> 0,
    pbaBar: pba & regs.PCI_MSIX_PBA_BIR,
    pbaOffset: (pba & ~regs.PCI_MSIX_PBA_BIR) >>> 0,
    isEnabled: (flags & regs.PCI_MSIX_FLAGS_ENABLE) !== 0,
    isMasked: (flags & regs.PCI_MSIX_FLAGS_MASKALL) !== 0,
  };
}

function parseExpress(image: Buffer, offset: number): ExpressCapability {
  const linkCap = image.readUInt32LE(offset + regs.PCI_EXP_LNKCAP);
  const linkStatus = image.readUInt16LE(offset + regs.PCI_EXP_LNKSTA);
  return {
    offset,
    type: (image.readUInt16LE(offset + regs.PCI_EXP_FLAGS) & regs.PCI_EXP_FLAGS_TYPE) >> 4,
    hasFlr: (image.readUInt32LE(offset + regs.PCI_EXP_DEVCAP) & regs.PCI_EXP_DEVCAP_FLR) !== 0,
    linkSpeedMax: linkCap & regs.PCI_EXP_LNKCAP_SLS,
    linkSpeed: linkStatus & regs.PCI_EXP_LNKSTA_CLS,
    linkWidthMax: (linkCap & regs.PCI_EXP_LNKCAP_MLW) >> regs.PCI_EXP_LNKSTA_NLW_SHIFT,
    linkWidth: (linkStatus & regs.PCI_EXP_LNKSTA_NLW) >> regs.PCI_EXP_LNKSTA_NLW_SHIFT,
  };
}

/** The kernel uses it where the function can also tell that no transaction is pending. */
function parseAfFlr(image: Buffer, offset: number): boolean {
  const both = regs.PCI_AF_CAP_TP | regs.PCI_AF_CAP_FLR;
  return (image.readUInt8(offset + regs.PCI_AF_CAP) & both) === both;
}

function parseSriov(image: Buffer, offset: number): SriovCapability {
  const word = (register: number) => image.readUInt16LE(offset + register);
  return {
    offset,
    totalVfs: word(regs.PCI_SRIOV_TOTAL_VF),
    numVfs: word(regs.PCI_SRIOV_NUM_VF),
    vfOffset: word(regs.PCI_SRIOV_VF_OFFSET),
    vfStride: word(regs.PCI_SRIOV_VF_STRIDE),
    vfDevice: word(regs.PCI_SRIOV_VF_DID),
    isEnabled: (word(regs.PCI_SRIOV_CTRL) & regs.PCI_SRIOV_CTRL_VFE) !== 0,
  };
}

function parseAcs(image: Buffer, offset: number): AcsCapability {
  return {
    offset,
    capabilities: image.readUInt16LE(offset + regs.PCI_ACS_CAP),
    control: image.readUInt16LE(offset + regs.PCI_ACS_CTRL),
  };
}
