// How packets are forwarded, and what ports let in.
import type { ForwardMode } from "../config.ts";
import { type CsumLayer, csumText } from "../csum.ts";
import type { PortChoice } from "../ports.ts";
import { type Command, command } from "./table.ts";
import { integer, upTo } from "./types.ts";

const section = "config";

type OnOff = "on" | "off";
const forwarding: readonly Command[] = [
  command<[number]>({
    grammar: "set nbport (num)",
    section,
    help: "Set number of ports.",
    example: "set nbport 2",
    types: { num: upTo(({ config }) => config.portlist.length) },
    run: ({ session }, [ports]) => session.setNbPorts(ports),
  }),
  command<[number]>({
    grammar: "set nbcore (num)",
    section,
    help: "Set number of cores.",
    example: "set nbcore 1",
    types: { num: upTo(({ config }) => config.corelist.length) },
    run: ({ session }, [cores]) => session.setNbCores(cores),
  }),
  command<[number]>({
    grammar: "set burst (burst)",
    section,
    help: "Set number of packets per burst.",
    example: "set burst 64",
    run: ({ session }, [packets]) => session.setBurst(packets),
  }),
  command<[number]>({
    grammar: "set verbose (level)",
    section,
    help: "Set the debug verbosity level: 1 prints received packets, 2 sent ones, 3 both.",
    example: "set verbose 1",
    types: { level: integer(0, 0xffff) },
    run: ({ session }, [level]) => session.setVerbose(level),
  }),
  command<[number[]]>({
    grammar: "set corelist (corelist)",
    section,
    help: "Set the list of forwarding cores.",
    example: "set corelist 1",
    run: ({ session }, [lcores]) => session.setCorelist(lcores),
  }),
  command<[number[]]>({
    grammar: "set coremask (mask)",
    section,
    help: "Set the forwarding cores hexadecimal mask.",
    example: "set coremask 0x2",
    run: ({ session }, [lcores]) => session.setCorelist(lcores),
  }),
  command<[number[]]>({
    grammar: "set portlist (portlist)",
    section,
    help: "Set the list of forwarding ports.",
    example: "set portlist 0,1",
    run: ({ session }, [ports]) => session.setPortlist(ports),
  }),
  command<[number[]]>({
    grammar: "set portmask (portmask)",
    section,
    help: "Set the forwarding ports hexadecimal mask.",
    example: "set portmask 0x3",
    run: ({ session }, [ports]) => session.setPortlist(ports),
  }),
  command<[ForwardMode]>({
    grammar: "set fwd (mode)",
    section,
    help: "Set packet forwarding mode, or app=FILE.",
    example: "set fwd macswap",
    run: ({ session }, [mode]) => session.setMode(mode),
  }),
  command<[number[]]>({
    grammar: "set txpkts (lengths)",
    section,
    help: "Set the length of each segment of TXONLY packets.",
    example: "set txpkts 64,128",
    run: ({ session }, [lengths]) => session.setTxpkts(lengths),
  }),
  command<[OnOff]>({
    grammar: "set record-burst-stats (on|off)",
    section,
    help: "Set the option to enable display of RX and TX bursts.",
    example: "set record-burst-stats on",
    run: ({ session }, [on]) => session.setRecordBurstStats(on === "on"),
  }),
];

const checksums: readonly Command[] = [
  command<[OnOff, number]>({
    grammar: "csum parse-tunnel (on|off) (port_id)",
    section,
    help: "Let csum make checksums in VXLAN, GRE and IP-in-IP, too, of what port_id sends.",
    example: "csum parse-tunnel on 0",
    run: ({ session }, [on, id]) => session.setCsum(id, { tunnels: on === "on" }),
  }),
  command<[CsumLayer, "hw" | "sw", number]>({
    grammar: "csum set (ip|udp|tcp|sctp|outer-ip|outer-udp) (hw|sw) (port_id)",
    section,
    help: "Let csum leave checksums of what port_id sends to the port, or make them in software.",
    example: "csum set outer-udp sw 0",
    run: ({ session }, [layer, by, id]) => session.setCsum(id, { layer, by }),
  }),
  command<[number]>({
    grammar: "csum show (port_id)",
    section,
    help: "Show who makes which checksums of what port_id sends.",
    example: "csum show 0",
    run: ({ session, say }, [id]) => say(csumText(session.ports.get(id), session.config)),
  }),
];

const addresses: readonly Command[] = [
  command<[number, Uint8Array]>({
    grammar: "set eth-peer (port_id) (mac)",
    section,
    help: "Set the peer address for certain port.",
    example: "set eth-peer 0 02:00:00:00:00:99",
    run: ({ session }, [id, mac]) => session.setEthPeer(id, mac),
  }),
  command<["add" | "remove" | "set", number, Uint8Array]>({
    grammar: "mac_addr (add|remove|set) (port_id) (mac)",
    section,
    help: "Add/Remove/Set MAC address on port_id.",
    example: "mac_addr add 0 02:00:00:00:00:77",
    run: ({ session }, [how, id, mac]) => {
      if (how === "add") return session.macAdd(id, mac);
      return how === "remove" ? session.macRemove(id, mac) : session.macSet(id, mac);
    },
  }),
  command<[PortChoice, OnOff]>({
    grammar: "set promisc (port_id|all) (on|off)",
    section,
    help: "Set the promiscuous mode on port_id, or all.",
    example: "set promisc all off",
    run: ({ session }, [id, on]) => session.setPromisc(id, on === "on"),
  }),
  command<[PortChoice, OnOff]>({
    grammar: "set allmulti (port_id|all) (on|off)",
    section,
    help: "Set the allmulti mode on port_id, or all.",
    example: "set allmulti 0 on",
    run: ({ session }, [id, on]) => session.setAllmulti(id, on === "on"),
  }),
  command<["strip" | "filter", OnOff, number]>({
    grammar: "vlan set (strip|filter) (on|off) (port_id)",
    section,
    help: "Set the VLAN strip or filter, where the driver can while the port runs.",
    example: "vlan set filter on 0",
    run: ({ session }, [what, on, id]) => session.vlanSet(what, id, on === "on"),
  }),
  command<["add" | "rm", number | "all", number]>({
    grammar: "rx_vlan (add|rm) (vlan_id|all) (port_id)",
    section,
    help: "Add/Remove a vlan_id, or all identifiers, to/from the set of VLAN identifiers filtered by port_id.",
    example: "rx_vlan add 100 0",
    run: ({ session }, [how, vlan, id]) => session.rxVlan(id, vlan, how === "add"),
  }),
];

const links: readonly Command[] = [
  command<[number]>({
    grammar: "set link-up port (port_id)",
    section,
    help: "Set link up for a port.",
    example: "set link-up port 0",
    run: ({ session }, [id]) => session.setLink(id, true),
  }),
  command<[number]>({
    grammar: "set link-down port (port_id)",
    section,
    help: "Set link down for a port.",
    example: "set link-down port 0",
    run: ({ session }, [id]) => session.setLink(id, false),
  }),
  command<["up" | "down", number]>({
    grammar: "set link (up|down) port (port_id)",
    section,
    help: "The same, otherwise spelt. Not in DPDK.",
    example: "set link up port 0",
    run: ({ session }, [way, id]) => session.setLink(id, way === "up"),
  }),
];

export const configCommands: readonly Command[] = [...forwarding, ...checksums, ...addresses, ...links];
