// Installs packages of the release's backports, from the mirror that the machine's own apt sources name, and without
// changing those sources: apt is run with lists of our own.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PollmodeError } from "../../../src/errors.ts";
import { aptGet, run } from "../command.ts";

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

export async function installFromBackports(packages: string[], state: string): Promise<void> {
  const codename = /^VERSION_CODENAME=(\w+)$/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1];
  const folder = join(state, "apt");
  mkdirSync(join(folder, "lists", "partial"), { recursive: true });
  const sources = join(folder, "sources.list");
  writeFileSync(sources, await sourceLines(`${codename}`));
  const ours = [
    `Dir::Etc::SourceList=${sources}`,
    "Dir::Etc::SourceParts=-",
    `Dir::State::Lists=${folder}/lists`,
  ];
  ours.push(`Dir::Cache::pkgcache=`, `Dir::Cache::srcpkgcache=`); // those of the machine are of its own sources
  const options = ours.flatMap((option) => ["-o", option]);
  await aptGet([...options, "update"]);
  await aptGet([
    ...options,
    "-t",
    `${codename}-backports`,
    "install",
    "--no-install-recommends",
    ...packages,
  ]);
}

/** The machine's Debian sources as lines of a sources.list, and the backports of the same mirror. */
async function sourceLines(codename: string): Promise<string> {
  const format = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
  const targets = await run("apt-get", ["indextargets", "--format", format, "Identifier: Packages"]);
  const ofDebian = targets
    .trim()
    .split("\n")
    .map((line) => line.split(" ") as [string, string, string])
    .filter(([, release]) => release === codename || release?.startsWith(`${codename}-`));
  const mirror = ofDebian.find(([, release, component]) => release === codename && component === "main")?.[0];
  if (!mirror) {
    const message = `apt's sources name no mirror of Debian ${codename}`;
    throw new PollmodeError(
      "BED_SETUP",
      message,
      `add "deb MIRROR ${codename} main" to /etc/apt/sources.list`,
    );
  }
  const all = [...ofDebian, [mirror, `${codename}-backports`, "main"]];
  const lines = new Set(all.map((words) => `deb [signed-by=${keyring}] ${words.join(" ")}\n`));
  return [...lines].join("");
}
