// INTERFACE: attaches an XDP program that lets everything pass, which stays until the interface goes. bpf(2),
// linux/bpf.h.
import { readFileSync } from "node:fs";
import * as abi from "../../../src/bus/netlink/abi.ts";
import { attribute, nest, words } from "../../../src/bus/netlink/attributes.ts";
import { Rtnetlink } from "../../../src/bus/netlink/client.ts";
import { linkRequest } from "../../../src/bus/netlink/link.ts";
import { addressOf, check, libc } from "../../../src/libc/native.ts";

const SYS_bpf = 321;
const BPF_PROG_LOAD = 5;
const BPF_PROG_TYPE_XDP = 6;
const XDP_PASS = 2;
const IFLA_XDP_FD = 1;
const IFLA_XDP_FLAGS = 3;
const XDP_FLAGS_SKB_MODE = 2;

const name = process.argv[2]!;
const syscall = libc.func("int64_t syscall(int64_t, int64_t, void *, int64_t)");

/** BPF_MOV64_IMM(r0, XDP_PASS); BPF_EXIT. */
const program = Buffer.from([0xb7, 0, 0, 0, XDP_PASS, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);
const license = Buffer.from("GPL\0");
const load = Buffer.alloc(128);
load.writeUInt32LE(BPF_PROG_TYPE_XDP, 0);
load.writeUInt32LE(2, 4);
load.writeBigUInt64LE(addressOf(program), 8);
load.writeBigUInt64LE(addressOf(license), 16);
const fd = check(Number(syscall(SYS_bpf, BPF_PROG_LOAD, load, load.length)), "bpf BPF_PROG_LOAD", name);

using client = new Rtnetlink();
const index = Number(readFileSync(`/sys/class/net/${name}/ifindex`, "utf8"));
const flags = attribute(IFLA_XDP_FLAGS, words(XDP_FLAGS_SKB_MODE));
const xdp = nest(abi.IFLA.XDP, attribute(IFLA_XDP_FD, words(fd)), flags);
client.request(abi.RTM.SETLINK, Buffer.concat([linkRequest(index), xdp]), `RTM_SETLINK, XDP on ${name}`);
