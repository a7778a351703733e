// Commands that a reload must not lose: kept in IndexedDB until the server has answered.

/** @typedef {{id: string, frame: import("./wire.js").Frame, created: number, tab: string, principal?: string}} Entry */

const most = 5000; // entries; beyond, new ones are in memory only

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
const result = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

export class Outbox {
  /** @type {Promise<IDBDatabase>} */ #db;

  /**
   * @param {string} name of whose it is
   * @param {IDBFactory | undefined} factory
   */
  constructor(name, factory) {
    this.#db = this.#open(name, factory);
    this.#db.catch(() => {}); // each use says so
  }

  /** @param {string} name @param {IDBFactory | undefined} factory */
  async #open(name, factory) {
    if (!factory) throw new Error("no IndexedDB");
    const request = factory.open("carewire " + name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore("outbox", {keyPath: "id"});
    const db = await result(request);
    db.onversionchange = () => db.close();
    return db;
  }

  /** @template T @param {IDBTransactionMode} mode @param {(store: IDBObjectStore) => Promise<T>} use */
  async #with(mode, use) {
    const change = (await this.#db).transaction("outbox", mode, {durability: "strict"});
    const done = new Promise((resolve, reject) => {
      change.oncomplete = resolve;
      change.onabort = change.onerror = () => reject(change.error);
    });
    const [got] = await Promise.all([use(change.objectStore("outbox")), done]);
    return got;
  }

  /** Keeps an entry, and tells whether it is kept. @param {Entry} entry */
  async put(entry) {
    try {
      return await this.#with("readwrite", async (store) => {
        if (await result(store.count()) >= most) return false;
        await result(store.put(entry));
        return true;
      });
    } catch {
      return false;
    }
  }

  /** Makes an entry another tab's, and tells whether nobody else was faster. @param {Entry} entry @param {string} tab */
  async claim({id, tab: before}, tab) {
    return this.#with("readwrite", async (store) => {
      const entry = /** @type {Entry | undefined} */ (await result(store.get(id)));
      if (entry?.tab !== before) return false;
      await result(store.put({...entry, tab}));
      return true;
    }).catch(() => false);
  }

  /** @param {string} id */
  async delete(id) { await this.#with("readwrite", (store) => result(store.delete(id))).catch(() => {}); }

  /** Lists the kept commands, oldest first. @returns {Promise<Entry[]>} */
  async all() {
    const list = await this.#with("readonly", (store) => /** @type {Promise<Entry[]>} */ (result(store.getAll()))).catch(() => []);
    return list.sort((a, b) => a.created - b.created);
  }

  async close() { await this.#db.then((db) => db.close(), () => {}); }
}
