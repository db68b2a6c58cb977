// The numbers in abi.ts, against what the C compiler makes of the kernel's headers.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import * as abi from "../../../src/bus/netlink/abi.ts";

const gcc = spawnSync("gcc", ["--version"]).status === 0;

/** Ours that C spells in another way; the others have C's name, and those of a table its name before them. */
const expressions: Record<string, string> = {
  NLMSGHDR_BYTES: "sizeof(struct nlmsghdr)",
  NLMSG_TYPE: "offsetof(struct nlmsghdr, nlmsg_type)",
  NLMSG_FLAGS: "offsetof(struct nlmsghdr, nlmsg_flags)",
  NLMSG_SEQ: "offsetof(struct nlmsghdr, nlmsg_seq)",
  NLATTR_BYTES: "sizeof(struct nlattr)",
  NLA_TYPE_MASK: "NLA_TYPE_MASK & 0xffff",
  IFINFOMSG_BYTES: "sizeof(struct ifinfomsg)",
  IFI_INDEX: "offsetof(struct ifinfomsg, ifi_index)",
  IFI_FLAGS: "offsetof(struct ifinfomsg, ifi_flags)",
  VF_MAC_BYTES: "sizeof(struct ifla_vf_mac)",
  VF_SETTING_UNKNOWN: "(unsigned int)-1",
  IFADDRMSG_BYTES: "sizeof(struct ifaddrmsg)",
  IFA_INDEX: "offsetof(struct ifaddrmsg, ifa_index)",
  RTMSG_BYTES: "sizeof(struct rtmsg)",
  RTM_DST_LEN: "offsetof(struct rtmsg, rtm_dst_len)",
  RTM_TABLE: "offsetof(struct rtmsg, rtm_table)",
  RTM_PROTOCOL: "offsetof(struct rtmsg, rtm_protocol)",
  RTM_TYPE: "offsetof(struct rtmsg, rtm_type)",
  RTM_FLAGS: "offsetof(struct rtmsg, rtm_flags)",
  RTNEXTHOP_BYTES: "sizeof(struct rtnexthop)",
  RTNH_IFINDEX: "offsetof(struct rtnexthop, rtnh_ifindex)",
  NHMSG_BYTES: "sizeof(struct nhmsg)",
  NEXTHOP_GRP_BYTES: "sizeof(struct nexthop_grp)",
  RTGENMSG_BYTES: "(sizeof(struct rtgenmsg) + 3) & ~3",
  "OPERATIONAL_STATES.down": "IF_OPER_DOWN",
  "OPERATIONAL_STATES.lowerlayerdown": "IF_OPER_LOWERLAYERDOWN",
  "OPERATIONAL_STATES.up": "IF_OPER_UP",
  "VF_LINK_STATES.auto": "IFLA_VF_LINK_STATE_AUTO",
  "VF_LINK_STATES.enable": "IFLA_VF_LINK_STATE_ENABLE",
  "VF_LINK_STATES.disable": "IFLA_VF_LINK_STATE_DISABLE",
};
const headers = [
  "netlink",
  "rtnetlink",
  "if_link",
  "if_addr",
  "if_ether",
  "if",
  "nexthop",
  "net_namespace",
].map((name) => `linux/${name}`);

/** Each number with what C calls it. */
function numbers(): [expression: string, value: number][] {
  return Object.entries(abi).flatMap(([name, value]): [string, number][] => {
    if (typeof value === "number") return [[expressions[name] ?? name, value]];
    if (Array.isArray(value)) {
      const all = value.map((text, at): [string | undefined, number] => [expressions[`${name}.${text}`], at]);
      return all.filter((entry): entry is [string, number] => entry[0] !== undefined);
    }
    return Object.entries(value as Record<string, number>).map(([key, number]) => [`${name}_${key}`, number]);
  });
}

t.test("abi.ts has C's numbers", { skip: !gcc && "no gcc" }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "pollmode-abi-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const all = numbers();
  t.ok(all.length > 80);
  const lines = all.map(([expression]) => `  printf("%lu\\n", (unsigned long)(${expression}));`);
  const includes = ["stddef", "stdio", "sys/socket", ...headers].map((header) => `#include <${header}.h>`);
  const source = [...includes, "int main(void) {", ...lines, "  return 0;", "}", ""];
  writeFileSync(join(folder, "abi.c"), source.join("\n"));
  execFileSync("gcc", ["-o", join(folder, "abi"), join(folder, "abi.c")]);
  const values = execFileSync(join(folder, "abi"), { encoding: "utf8" }).trim().split("\n");
  t.same(
    all.map(([name, value]) => `${name} ${value}`),
    all.map(([name], at) => `${name} ${values[at]}`),
  );
});
