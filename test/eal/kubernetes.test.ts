// What the SR-IOV network device plugin puts into a container's environment, and how devices are taken from it.
import t from "tap";
import { parseAllowed, pciDevicesFromEnvironment } from "../../src/eal/kubernetes.ts";
import { parseEal } from "../../src/eal/options.ts";
import { pciDevicesOf } from "../../src/engine/devices.ts";

const token = "3e49019f-412f-4f02-824e-4cd195944205";
const info = (address: string, extra: object = {}) => ({
  [address]: {
    generic: { deviceID: address },
    vfio: { "dev-mount": "/dev/vfio/169", mount: "/dev/vfio/vfio" },
    ...extra,
  },
});
const env = {
  PATH: "/usr/bin",
  PCIDEVICE_INTEL_COM_SRIOV_NET: "0000:3b:02.6,0000:3B:02.7",
  PCIDEVICE_INTEL_COM_SRIOV_NET_INFO: JSON.stringify(info("0000:3b:02.6", { extraInfo: { token } })),
  PCIDEVICE_OPENSHIFT_IO_OLDER: "0000:af:10.1",
  PCIDEVICE_OPENSHIFT_IO_OLDER_INFO: JSON.stringify({
    "0000:af:10.1": {
      vfio: { "vfio-dev-mount": "/dev/vfio/7", "vfio-mount": "/dev/vfio/vfio" },
      vhost: { "net-mount": "/dev/vhost-net", "tun-mount": "/dev/net/tun" },
    },
  }),
  PCIDEVICE_NVIDIA_COM_SF: "mlx5_core.sf.4",
};

t.test("all devices of the environment", async (t) => {
  t.same(pciDevicesFromEnvironment(env), [
    {
      resource: "INTEL_COM_SRIOV_NET",
      address: "0000:3b:02.6",
      mounts: ["/dev/vfio/169", "/dev/vfio/vfio"],
      vfToken: token,
    },
    { resource: "INTEL_COM_SRIOV_NET", address: "0000:3b:02.7", mounts: [], vfToken: undefined },
    {
      resource: "OPENSHIFT_IO_OLDER",
      address: "0000:af:10.1",
      mounts: ["/dev/net/tun", "/dev/vfio/7", "/dev/vfio/vfio", "/dev/vhost-net"],
      vfToken: undefined,
    },
  ]);
  t.same(pciDevicesFromEnvironment({}), []);
  t.same(pciDevicesFromEnvironment({ PCIDEVICE_A: "", PCIDEVICE_A_INFO: "" }), []);
});

t.test("a resource whose own name ends in _INFO", async (t) => {
  const odd = { PCIDEVICE_A_INFO: "0000:01:00.0", PCIDEVICE_A_INFO_INFO: "{}" };
  t.match(pciDevicesFromEnvironment(odd), [{ resource: "A_INFO", address: "0000:01:00.0" }]);
});

t.test("--allow pcidevice:RESOURCE", async (t) => {
  const allowed = (...texts: string[]) => parseAllowed(texts, "--allow", env);
  const names = (...texts: string[]) => allowed(...texts).devices.map(({ name }) => name);
  t.same(names("pcidevice:intel.com/sriov_net"), ["0000:3b:02.6", "0000:3b:02.7"]);
  t.same(names("pcidevice:INTEL_COM_SRIOV_NET"), ["0000:3b:02.6", "0000:3b:02.7"]);
  t.same(names("01:00.0", "pcidevice:openshift.io/older"), ["0000:01:00.0", "0000:af:10.1"]);
  t.equal(allowed("pcidevice:intel.com/sriov_net").vfToken, token);
  t.equal(allowed("pcidevice:openshift.io/older", "01:00.0").vfToken, undefined);
  const withArgs = allowed("pcidevice:intel.com/sriov_net,a=1,list=[1,2]").devices;
  t.same(
    withArgs.map(({ args }) => [...args]),
    [1, 2].map(() => [
      ["a", "1"],
      ["list", "[1,2]"],
    ]),
    "arguments are for each of them",
  );
  const { PCIDEVICE_NVIDIA_COM_SF: _, ...pciOnly } = env;
  t.equal(parseAllowed(["pcidevice:*"], "--allow", pciOnly).devices.length, 3);
});

t.test("one device twice is one port too many", async (t) => {
  const twice = (...texts: string[]) =>
    t.throws(() => parseAllowed(texts, "--allow", env), { code: "DEVARGS_REPEATED" });
  twice("01:00.0", "0000:01:00.0");
  twice("3b:02.6", "pcidevice:intel.com/sriov_net");
  t.equal(parseAllowed(["01:00.0", "01:00.1"], "--allow", env).devices.length, 2);
});

t.test("what is wrong is named", async (t) => {
  const fail =
    (text: string, environment: Record<string, string> = env) =>
    () =>
      parseAllowed([text], "--allow", environment);
  t.throws(fail("pcidevice:intel.com/sriov_ned"), {
    code: "PCIDEVICE_UNKNOWN",
    message: /given no such resource/,
    fix: /did you mean pcidevice:INTEL_COM_SRIOV_NET\? .*pcidevice:OPENSHIFT_IO_OLDER/,
  });
  t.throws(fail("pcidevice:a/b", {}), { code: "PCIDEVICE_UNKNOWN", fix: /it has none; .*resources: limits/ });
  t.throws(fail("pcidevice:nvidia.com/sf"), { code: "PCIDEVICE_VALUE", message: /"mlx5_core.sf.4"/ });
  for (const text of ["{", "{]", '{"0000:01:00.0":', "null"]) {
    const broken = { PCIDEVICE_A: "0000:01:00.0", PCIDEVICE_A_INFO: text };
    t.throws(
      fail("pcidevice:A", broken),
      { code: "PCIDEVICE_VALUE", message: /PCIDEVICE_A_INFO is no JSON/ },
      text,
    );
  }
  for (const text of [
    "[]",
    "{}",
    '{"0000:01:00.0":null}',
    '{"0000:01:00.0":{"extraInfo":{"token":7},"vfio":null}}',
  ]) {
    const odd = { PCIDEVICE_A: "0000:01:00.0", PCIDEVICE_A_INFO: text };
    t.equal(fail("pcidevice:A", odd)().vfToken, undefined, text);
  }
  const two = {
    PCIDEVICE_A: "0000:01:00.0,0000:01:00.1",
    PCIDEVICE_A_INFO: JSON.stringify({
      ...info("0000:01:00.0", { extraInfo: { token } }),
      ...info("0000:01:00.1", { extraInfo: { token: token.replace("3", "4") } }),
    }),
  };
  t.throws(fail("pcidevice:a", two), { code: "PCIDEVICE_TOKEN" });
});

t.test("on the command line and for programs", async (t) => {
  for (const [name, value] of Object.entries(env))
    if (name.startsWith("PCIDEVICE")) process.env[name] = value;
  t.teardown(() => {
    for (const name of Object.keys(env)) if (name.startsWith("PCIDEVICE")) delete process.env[name];
  });
  const { eal } = parseEal(["-a", "pcidevice:intel.com/sriov_net"]);
  t.same(
    eal.allow.map(({ name }) => name),
    ["0000:3b:02.6", "0000:3b:02.7"],
  );
  t.equal(eal.vfioVfToken, token);
  const own = token.replace("3", "9");
  t.equal(
    parseEal(["-a", "pcidevice:*".replace("*", "intel.com/sriov_net"), "--vfio-vf-token", own]).eal
      .vfioVfToken,
    own,
  );
  const devices = pciDevicesOf({ allow: ["pcidevice:openshift.io/older,x=1", "02:00.0"] });
  t.same(
    devices.map(({ name }) => name),
    ["0000:af:10.1", "0000:02:00.0"],
  );
});
