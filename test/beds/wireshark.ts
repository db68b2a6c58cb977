// The bed of tools that decode captures: tshark and capinfos (Wireshark), tcpdump (libpcap).
import { aptInstall, aptMissing, type Bed, commandPath, run } from "./command.ts";

const tools = ["tshark", "capinfos", "tcpdump"];

export const wiresharkBed: Bed = {
  name: "wireshark",
  missing() {
    return tools.every((tool) => commandPath(tool)) ? undefined : aptMissing();
  },
  async setup() {
    if (!tools.every((tool) => commandPath(tool))) await aptInstall(["tshark", "tcpdump"]);
  },
};

/** The fields of each packet of a capture, as tshark decodes them with checksums looked at. */
export async function tsharkFields(path: string, fields: readonly string[]): Promise<string[][]> {
  const layers = ["ip", "tcp", "udp"].flatMap((layer) => ["-o", `${layer}.check_checksum:TRUE`]);
  const wanted = fields.flatMap((field) => ["-e", field]);
  const text = await run("tshark", ["-n", "-r", path, ...layers, "-T", "fields", ...wanted]);
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => line.split("\t"));
}

/** What capinfos says of a capture: its packets, and whether its stamps ascend. */
export async function captureInfo(
  path: string,
): Promise<{ packets: number; ordered: boolean; type: string }> {
  const [, line = ""] = (await run("capinfos", ["-c", "-o", "-t", "-M", "-T", "-m", "-Q", path])).split("\n");
  const [, type = "", packets, order] = line.split(",").map((cell) => cell.replaceAll('"', ""));
  return { packets: Number(packets), ordered: order === "True", type };
}
