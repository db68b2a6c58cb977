// The options of `sriov set`, spelled as ip-link(8) names these things.
import type { VfLinkState, VfVlan } from "../../bus/netlink/vf.ts";
import type { VfChanges } from "../../devices/vf-settings.ts";
import type { OptionTable } from "../../eal/option-table.ts";
import { PollmodeError } from "../../errors.ts";
import { parseMac } from "../../packet/addresses.ts";
import type { Values } from "../tool/command.ts";

export const settingsTable = {
  mac: { value: "MAC", meaning: "Its MAC address, which it cannot change then; zeros let it choose." },
  vlan: {
    value: "ID[:QOS[:PROTO]]",
    meaning:
      "Tag what it sends, and strip that of what it gets; 0: no more. QOS 0 to 7, PROTO 802.1Q or 802.1ad.",
  },
  rate: { value: "MIN:MAX", meaning: "Mbit/s that it may send, at least and at most; 0: no limit." },
  "max-rate": { value: "MBIT", meaning: "The most alone." },
  "min-rate": { value: "MBIT", meaning: "The least alone." },
  trust: { value: "on|off", meaning: "Whether it may do what harms others, such as promiscuous mode." },
  spoofchk: { value: "on|off", meaning: "Whether what it sends with another's MAC address is dropped." },
  "link-state": { value: "STATE", meaning: "The link that it sees: auto (the PF's), enable or disable." },
} as const satisfies OptionTable;

/** Throws OPTION_VALUE. */
export function changesOf(values: Values): VfChanges {
  const text = (name: keyof typeof settingsTable) => values[name] as string | undefined;
  const [mac, vlan, state] = [text("mac"), text("vlan"), text("link-state")];
  const [trust, spoofCheck] = [onOff("trust", text("trust")), onOff("spoofchk", text("spoofchk"))];
  const rate = rateOf(text("rate"), text("max-rate"), text("min-rate"));
  const changes: VfChanges = {
    ...(mac !== undefined && { mac: macOf(mac) }),
    ...(vlan !== undefined && { vlan: vlanOf(vlan) }),
    ...(rate && { rate }),
    ...(trust !== undefined && { trust }),
    ...(spoofCheck !== undefined && { spoofCheck }),
    ...(state !== undefined && { linkState: linkStateOf(state) }),
  };
  if (Object.keys(changes).length > 0) return changes;
  const names = Object.keys(settingsTable).map((name) => `--${name}`);
  throw new PollmodeError(
    "OPTION_VALUE",
    "sriov set: nothing is said to set",
    `give one of ${names.join(", ")}`,
  );
}

function bad(option: string, text: string, fix: string): PollmodeError {
  return new PollmodeError("OPTION_VALUE", `--${option} ${text}: this cannot be`, fix);
}

function macOf(text: string): string {
  const mac = parseMac(text);
  const isGroup = mac !== undefined && Math.floor(mac / 2 ** 40) % 2 === 1;
  if (mac !== undefined && !isGroup) return text.toLowerCase();
  throw bad(
    "mac",
    text,
    `${isGroup ? "that is a group's: " : ""}write --mac 02:00:00:00:00:01, for instance`,
  );
}

function vlanOf(text: string): VfVlan {
  const [, id = "", qos = "0", protocol = "802.1q"] =
    /^(\d{1,4})(?::(\d)(?::(802\.1(?:q|ad)))?)?$/i.exec(text) ?? [];
  if (id !== "" && Number(id) <= 4095 && Number(qos) <= 7) {
    return { id: Number(id), qos: Number(qos), protocol: /ad$/i.test(protocol) ? "802.1ad" : "802.1Q" };
  }
  throw bad(
    "vlan",
    text,
    "write --vlan 100, --vlan 100:3 or --vlan 100:3:802.1ad; IDs are 0 to 4095, QOS 0 to 7",
  );
}

function rateOf(both?: string, max?: string, min?: string): VfChanges["rate"] {
  if (both !== undefined) {
    if (max !== undefined || min !== undefined)
      throw bad("rate", both, "give --rate alone, or --max-rate and --min-rate");
    const [, least = "", most = ""] = /^([^:]*):([^:]*)$/.exec(both) ?? [];
    return { min: mbit("rate", least, both), max: mbit("rate", most, both) };
  }
  if (max === undefined && min === undefined) return undefined;
  return {
    ...(max !== undefined && { max: mbit("max-rate", max) }),
    ...(min !== undefined && { min: mbit("min-rate", min) }),
  };
}

function mbit(option: "rate" | "max-rate" | "min-rate", text: string, whole = text): number {
  const value = Number(text);
  if (/^\d{1,10}$/.test(text) && value < 2 ** 32) return value;
  throw bad(
    option,
    whole,
    `write --${option} ${option === "rate" ? "100:500" : "500"}, in Mbit/s, for instance`,
  );
}

function onOff(option: "trust" | "spoofchk", text: string | undefined): boolean | undefined {
  if (text === undefined || text === "on" || text === "off")
    return text === undefined ? undefined : text === "on";
  throw bad(option, text, `write --${option} on or --${option} off`);
}

function linkStateOf(text: string): VfLinkState {
  if (text === "auto" || text === "enable" || text === "disable") return text;
  throw bad("link-state", text, "write --link-state auto, enable or disable");
}
