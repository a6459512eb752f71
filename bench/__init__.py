"""Side-by-side measurements that anyone can repeat. They assert nothing about time. README.md tells method and limits."""
