// Names from pci.ids: a made-up one, none at all, and the system's.
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { PciIds } from "../../../src/bus/pci/ids.ts";

const text = `#
# List of PCI IDs
8086  Intel Corporation
	10d3  82574L Gigabit Network Connection
		103c 1785  NC112i 1-port  Ethernet Server Adapter
# a comment between
		8086 a01f  Gigabit CT Desktop Adapter
	10c9  82576 Gigabit Network Connection
8087  Intel Corp.
	10ff  Another
C 02  Network controller
	00  Ethernet controller
	80  Network controller
C 0c  Serial bus controller
	03  USB controller
		30  XHCI
`;

function written(t: { teardown(done: () => void): unknown }, content: string): string {
  const folder = mkdtempSync(join(tmpdir(), "pollmode-ids-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "pci.ids"), content);
  return join(folder, "pci.ids");
}

t.test("vendors, devices, boards and classes", async (t) => {
  const ids = new PciIds(["/nonexistent/pci.ids", written(t, text)]);
  t.equal(ids.vendor(0x8086), "Intel Corporation");
  t.equal(ids.device(0x8086, 0x10d3), "82574L Gigabit Network Connection");
  t.equal(ids.device(0x8086, 0x10c9), "82576 Gigabit Network Connection");
  t.equal(ids.subsystem(0x8086, 0x10d3, 0x103c, 0x1785), "NC112i 1-port  Ethernet Server Adapter");
  t.equal(ids.subsystem(0x8086, 0x10d3, 0x8086, 0xa01f), "Gigabit CT Desktop Adapter");
  t.equal(ids.className(0x020000), "Ethernet controller");
  t.equal(ids.className(0x0c0330), "USB controller");
  t.equal(ids.className(0x02ff00), "Network controller", "the base class, where the sub-class is not known");
});

t.test("what is not listed", async (t) => {
  const ids = new PciIds([written(t, text)]);
  t.equal(ids.vendor(0x1234), undefined);
  t.equal(ids.device(0x8086, 0x10ff), undefined, "another vendor's");
  t.equal(ids.device(0x8086, 0x103c), undefined, "a board's vendor is no device");
  t.equal(ids.subsystem(0x8086, 0x10c9, 0x8086, 0xa01f), undefined, "another device's board");
  t.equal(ids.className(0x770000), undefined);
});

t.test("no pci.ids, and an empty one", async (t) => {
  for (const ids of [new PciIds([]), new PciIds(["/nonexistent/pci.ids"]), new PciIds([written(t, "")])]) {
    t.equal(ids.vendor(0x8086), undefined);
    t.equal(ids.device(0x8086, 0x10d3), undefined);
    t.equal(ids.className(0x020000), undefined);
  }
});

const none = !existsSync("/usr/share/misc/pci.ids") && !existsSync("/usr/share/hwdata/pci.ids");

t.test("the system's", { skip: none && "this machine has no pci.ids" }, async (t) => {
  const ids = new PciIds();
  t.match(ids.vendor(0x8086), /Intel/);
  t.match(ids.device(0x8086, 0x10d3), /82574L/);
  t.equal(ids.className(0x020000), "Ethernet controller");
});
