// A made-up machine with hugepages: folders for /sys, /proc and /dev, and behind nr_hugepages, mount and umount what
// the kernel does. Any write and any command can be made to fail.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type Change, Machine } from "../../src/devices/machine.ts";
import { PollmodeError } from "../../src/errors.ts";
import { FakeSysfs } from "../support/fake-sysfs.ts";

type Test = { teardown(done: () => void): unknown };

export interface FakePool {
  /** nr_hugepages, and how many of these are free. Default 0. */
  total?: number;
  free?: number;
  /** The most that the node can have. Default 10 000. */
  room?: number;
}

const KIB = { "2M": 2048, "1G": 1024 * 1024 } as const;
export type PageSize = keyof typeof KIB;

class HugepageSysfs extends FakeSysfs {
  readonly rooms = new Map<string, number>();
  /** Pages that are used, by the pool's folder. */
  readonly used = new Map<string, () => number>();

  protected override store(path: string, value: string): void {
    super.store(path, value);
    const [, pool] = /^(.*hugepages-\d+kB)\/nr_hugepages$/.exec(path) ?? [];
    if (pool !== undefined) this.resize(pool, Number(value));
  }

  /** set_max_huge_pages: what is used stays, as surplus. */
  private resize(pool: string, wanted: number): void {
    const used = this.used.get(pool)?.() ?? 0;
    const granted = Math.max(used, Math.min(wanted, this.rooms.get(pool) ?? 0));
    this.count(pool, granted, granted - used, Math.max(0, granted - wanted));
  }

  count(pool: string, total: number, free: number, surplus: number): void {
    this.put(`${pool}/nr_hugepages`, `${total}\n`);
    this.put(`${pool}/free_hugepages`, `${free}\n`);
    this.put(`${pool}/surplus_hugepages`, `${surplus}\n`);
    const [, name] = /^devices\/system\/node\/node\d+\/hugepages\/(.*)$/.exec(pool) ?? [];
    if (name !== undefined) this.addUp(name);
  }

  /** The whole machine's counters are sums over the nodes. */
  addUp(name: string): void {
    const nodes = this.list("devices/system/node").filter((node) => /^node\d+$/.test(node));
    for (const counter of ["nr_hugepages", "free_hugepages", "surplus_hugepages"]) {
      const counts = nodes.map((node) => {
        return Number(this.readOptional(`devices/system/node/${node}/hugepages/${name}/${counter}`) ?? 0);
      });
      this.put(
        `kernel/mm/hugepages/${name}/${counter}`,
        `${counts.reduce((sum, count) => sum + count, 0)}\n`,
      );
    }
  }
}

export class HugepageMachine {
  readonly root: string;
  readonly sysfs: HugepageSysfs;
  /** Commands that were run. */
  readonly commands: string[] = [];
  /** Commands that fail, or that do nothing and say that they did. */
  readonly failing: RegExp[] = [];
  readonly idle: RegExp[] = [];

  constructor(t: Test) {
    this.root = mkdtempSync(join(tmpdir(), "pollmode-hugepages-"));
    t.teardown(() => rmSync(this.root, { recursive: true, force: true }));
    this.sysfs = new HugepageSysfs(t);
    this.file("/proc/meminfo", "MemFree:  4096 kB\nHugepagesize:       2048 kB\n");
    this.file("/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu pse pdpe1gb lm\n");
    this.file("/proc/mounts", "proc /proc proc rw 0 0\n");
    mkdirSync(join(this.root, "dev"));
  }

  /** Pools of one page size, node by node; without nodes: those of a kernel without NUMA. */
  pages(size: PageSize, ...pools: FakePool[]): this {
    const name = `hugepages-${KIB[size]}kB`;
    this.sysfs.put(`kernel/mm/hugepages/${name}/resv_hugepages`, "0\n");
    pools.forEach((pool, node) => {
      this.pool(`devices/system/node/node${node}/hugepages/${name}`, pool);
      const meminfo = `Node ${node} MemTotal: 99999999 kB\nNode ${node} MemFree: 102400 kB\n`;
      this.sysfs.put(`devices/system/node/node${node}/meminfo`, meminfo);
    });
    return this;
  }

  withoutNuma(size: PageSize, pool: FakePool): this {
    const path = `kernel/mm/hugepages/hugepages-${KIB[size]}kB`;
    this.sysfs.put(`${path}/resv_hugepages`, "0\n");
    return this.pool(path, pool);
  }

  private pool(path: string, { total = 0, free = total, room = 10_000 }: FakePool): this {
    this.sysfs.rooms.set(path, room);
    this.sysfs.used.set(path, () => total - free);
    this.sysfs.count(path, total, free, 0);
    return this;
  }

  /** Pages of node 0 that the files of a folder hold, one each; the kernel frees them with the files. */
  heldByFiles(size: PageSize, folder: string): this {
    const pool = `devices/system/node/node0/hugepages/hugepages-${KIB[size]}kB`;
    this.sysfs.used.set(pool, () => readdirSync(join(this.root, folder)).length);
    const total = Number(this.sysfs.read(`${pool}/nr_hugepages`));
    this.sysfs.count(pool, total, total - readdirSync(join(this.root, folder)).length, 0);
    return this;
  }

  file(path: string, text: string | Buffer = ""): this {
    mkdirSync(dirname(join(this.root, path)), { recursive: true });
    writeFileSync(join(this.root, path), text);
    return this;
  }

  /** A file of one page. */
  page(path: string): this {
    return this.file(path, Buffer.alloc(2 << 20, 1));
  }

  mount(folder: string, options: string, source = "hugetlbfs"): this {
    mkdirSync(join(this.root, folder), { recursive: true });
    const line = `${source} ${folder.replaceAll(" ", "\\040")} hugetlbfs ${options} 0 0\n`;
    return this.file("/proc/mounts", readFileSync(join(this.root, "proc/mounts"), "utf8") + line);
  }

  /** A program; it has touched so much, has these files mapped, and these open. */
  program(pid: number, name: string, hugetlbKib: number, mapped: string[] = [], open: string[] = []): this {
    this.file(`/proc/${pid}/comm`, `${name}\n`);
    this.file(`/proc/${pid}/status`, `Name:\t${name}\nHugetlbPages:\t${hugetlbKib} kB\n`);
    const lines = mapped.map(
      (path) => `7f0000000000-7f0000200000 rw-s 00000000 ${this.inode(path)}  ${path}\n`,
    );
    this.file(
      `/proc/${pid}/maps`,
      `00400000-00500000 r-xp 00000000 08:01 4711   /usr/bin/${name}\n${lines.join("")}`,
    );
    mkdirSync(join(this.root, `proc/${pid}/fd`));
    for (const [fd, path] of open.entries()) symlinkSync(path, join(this.root, `proc/${pid}/fd/${fd}`));
    return this;
  }

  /** As /proc/PID/maps has it; hugepages without a file are of the kernel's own mount. */
  private inode(path: string): string {
    const file = join(this.root, path);
    if (!existsSync(file)) return "00:0f 12";
    const { dev, ino } = statSync(file);
    const [major, minor] = [(dev >>> 8) & 0xfff, (dev & 0xff) | ((dev >>> 12) & 0xfff00)];
    return `${[major, minor].map((part) => part.toString(16).padStart(2, "0")).join(":")} ${ino}`;
  }

  get machine(): Machine {
    return new Machine({ root: this.root, sysfs: this.sysfs, run: (command) => this.run(command) });
  }

  dryRun(changes: Change[]): Machine {
    this.link("/sys", this.sysfs.root);
    return new Machine({ root: this.root, record: (change) => changes.push(change) });
  }

  private link(path: string, target: string): void {
    if (!existsSync(join(this.root, path))) symlinkSync(target, join(this.root, path));
  }

  private run(command: readonly string[]): string {
    const text = command.join(" ");
    this.commands.push(text);
    if (this.failing.some((pattern) => pattern.test(text))) {
      throw new PollmodeError("COMMAND_FAILED", `${text} failed: because`, "try by hand");
    }
    if (this.idle.some((pattern) => pattern.test(text))) return "";
    const folder = command.at(-1)!;
    const lines = readFileSync(join(this.root, "proc/mounts"), "utf8").trimEnd().split("\n");
    if (command[0] === "mkdir") mkdirSync(join(this.root, folder));
    if (command[0] === "rmdir") rmSync(join(this.root, folder), { recursive: true });
    if (command[0] === "mount") {
      const options = command[4]!.replace(
        /pagesize=(\d+)(?=,|$)/,
        (_, bytes) => `pagesize=${Number(bytes) >> 20}M`,
      );
      const all = options.startsWith("rw,") ? options : `rw,relatime,${options}`;
      lines.push(`${command[5]} ${folder} hugetlbfs ${all} 0 0`);
    }
    if (command[0] === "umount")
      lines.splice(
        lines.findLastIndex((line) => line.split(" ")[1] === folder),
        1,
      );
    this.file("/proc/mounts", `${lines.join("\n")}\n`);
    return "";
  }

  /** All that is changed, but for files in hugetlbfs. */
  state(): Record<string, string> {
    const pools = [...this.sysfs.rooms.keys()].map((pool): [string, string] => {
      const counts = ["nr", "free", "surplus"].map((name) => this.sysfs.read(`${pool}/${name}_hugepages`));
      return [pool, counts.join(" ")];
    });
    const folders = readdirSync(join(this.root, "dev")).join(" ");
    return {
      ...Object.fromEntries(pools),
      mounts: readFileSync(join(this.root, "proc/mounts"), "utf8"),
      folders,
    };
  }
}
