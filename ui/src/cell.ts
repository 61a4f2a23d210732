// A value that many components read and follow. It tells its followers only when it changes.

import { useEffect, useState } from 'preact/hooks';

export class Cell<T> {
  private followers = new Set<(value: T) => void>();

  constructor(private value: T) {}

  get(): T {
    return this.value;
  }

  set(value: T): void {
    if (Object.is(value, this.value)) return;
    this.value = value;
    // A copy: followers may leave while they are told.
    for (const follower of Array.from(this.followers)) follower(value);
  }

  follow(follower: (value: T) => void): () => void {
    this.followers.add(follower);
    return () => this.followers.delete(follower);
  }
}

export function useCell<T>(cell: Cell<T>): T {
  const [value, setValue] = useState(() => cell.get());
  useEffect(() => {
    setValue(() => cell.get());
    return cell.follow((next) => setValue(() => next));
  }, [cell]);
  return value;
}
