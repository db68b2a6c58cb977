// PCI addresses: full, short, wrong, and their order.
import t from "tap";
import { comparePciAddresses, fullPciAddress, parsePciAddress } from "../../../src/bus/pci/address.ts";

t.test("full and short addresses", async (t) => {
  t.same(parsePciAddress("0000:00:03.0"), { domain: 0, bus: 0, device: 3, function: 0 });
  t.same(parsePciAddress("af:1f.7"), { domain: 0, bus: 0xaf, device: 31, function: 7 });
  t.equal(fullPciAddress("00:03.0"), "0000:00:03.0");
  t.equal(fullPciAddress("0001:AF:1F.7"), "0001:af:1f.7");
  t.equal(fullPciAddress("10000:E1:00.0"), "10000:e1:00.0", "a domain behind VMD");
});

t.test("what is none", async (t) => {
  const wrong = [
    "",
    "eth0",
    "3.0",
    "00:20.0",
    "00:03.8",
    "00:03",
    "000:00:03.0",
    "0000:00:03.0 ",
    "../00:03.0",
    "g0:03.0",
  ];
  for (const text of wrong) {
    t.equal(parsePciAddress(text), undefined, text);
    t.throws(() => fullPciAddress(text), { code: "PCI_ADDRESS", fix: /0000:01:00\.0/ });
  }
});

t.test("the order of buses", async (t) => {
  const ordered = [
    "0000:00:03.0",
    "0000:00:1f.0",
    "0000:00:1f.6",
    "0000:0a:00.0",
    "0001:00:00.0",
    "10000:e1:00.0",
  ];
  t.same([...ordered].reverse().sort(comparePciAddresses), ordered);
  t.equal(comparePciAddresses("0000:00:03.0", "0000:00:03.0"), 0);
});
