// The XML that passthrough prints, against libvirt's own schema.
import t from "tap";
import { findDevices } from "../../src/devices/find.ts";
import { libvirtXml } from "../../src/devices/guest-devices.ts";
import type { Mdev } from "../../src/devices/mdev.ts";
import { planPassthrough } from "../../src/devices/passthrough.ts";
import { libvirtBed, validateDomain } from "../beds/libvirt.ts";
import { RecordedMachine } from "../support/recorded-machine.ts";

const skip = libvirtBed.missing() ?? false;
t.setTimeout(120_000);

const uuid = "14d63f20-8445-11ea-8900-1f9ce7d5650d";
const mdev: Mdev = {
  uuid,
  sysfsdev: `/sys/bus/mdev/devices/${uuid}`,
  parent: undefined,
  type: undefined,
  typeName: undefined,
  deviceApi: "vfio-pci",
  driver: undefined,
  iommuGroup: undefined,
  nodes: [],
};

const domain = (devices: string, overrides = "") =>
  "<domain type='kvm'><name>guest</name><memory>1048576</memory><os><type machine='q35'>hvm</type></os>" +
  `<devices>${devices}</devices>${overrides}</domain>`;

t.test("devices, functions, virtual functions with a token, mediated devices", { skip }, async (t) => {
  await libvirtBed.setup();
  const given = { mdevs: [mdev], wholeGroup: true, vfToken: undefined, memoryBytes: undefined };
  const desktop = new RecordedMachine(t, "desktop-shared-group").machine();
  const server = new RecordedMachine(t, "server-82599").bind("0000:03:00.0", "vfio-pci").machine();
  const group = planPassthrough(desktop, { ...given, devices: findDevices(desktop, ["01:00.0", "04:01.0"]) });
  const vf = planPassthrough(server, { ...given, devices: findDevices(server, ["03:10.2"]), vfToken: uuid });
  for (const plan of [group, vf]) {
    const { devices, overrides } = libvirtXml(plan);
    await t.resolves(validateDomain(domain(devices, overrides)));
  }
  const { devices } = libvirtXml(group);
  await t.rejects(
    validateDomain(domain(devices.replace("managed='yes'", "managed='maybe'"))),
    { code: "COMMAND_FAILED" },
    "and the schema knows what is wrong",
  );
});
