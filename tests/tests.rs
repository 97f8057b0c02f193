//! Black-box tests of the tools: what users and elements rely on, observed from outside.
//!
//! Toy elements stand in for distributions: `fixtures/elements` holds a root made of the host's own tools and a spy with
//! a hook in every phase, and every test writes the probes that it needs.
//!
//! Upstream's behaviour was observed once and written down as assertions; this is where each of them is held:
//!
//! | assertion | test |
//! |---|---|
//! | 1 words that make no build; 2 resolution; 3 `base`, partitions of `vm` | `resolution`, `element_habits::dependencies_are_found_however_they_are_written` |
//! | 4 order of hooks, and what is none | `hooks::hooks_run_in_order_and_odd_files_do_not`, `element_habits` |
//! | 5 `environment.d` | `hooks::environment_reaches_every_later_hook`, `element_habits::snippets_set_the_environment_or_end_the_build_in_its_first_phase` |
//! | 6 duplicates | `hooks::one_hook_name_in_two_elements_is_refused_before_any_runs`, `element_habits::equal_names_are_fatal_in_every_directory_but_below_it` |
//! | 7 a hook's status, and what is left | `hooks::a_hooks_status_is_the_builds`, `hooks::failures_leave_no_mount_no_process_and_no_device` |
//! | 8 directories, `$0`, mounts, `HOME`; 10 `TARGET_ROOT`; 11 devices and sizes | `phase_table` |
//! | 9 what `extra-data.d` brings | `hooks::hooks_find_themselves_where_they_expect` |
//! | 12 no root | `hooks::a_root_that_is_not_deployed_is_noticed` |
//! | 13 break points | `break_points` |
//! | 14 `resolv.conf` | `hooks::names_are_resolved_as_the_host_does`, `finalisation::resolv_conf_is_what_elements_make_of_it` |
//! | 15 traces; 16 fstab; 17 top-level dotfiles | `finalisation::traces_of_the_build_are_gone` |
//! | 18 sizes; 19 options of the file system | `sizes`, `finalisation::a_label_reaches_file_system_fstab_and_hooks` |
//! | 20 tables, 21 what is rejected of a layout | `disks::tables_are_those_that_upstream_makes`; the unit tests of `blockdevice` |
//! | 23 names, 24 old outputs, 25 digests, 26 compression, 29 logs | `outputs` |
//! | 27 archives | `archives::all_types_of_one_run_are_there_with_digests_and_hold_the_tree`, `archives::a_built_archive_has_nothing_of_the_host_and_empty_directories_for_it` |
//! | 28 several formats | `archives`, `conversions` |
//! | 30 manifests, 31 no image | `records` |
//! | 32 ramdisks | `ramdisk`, and boots in `ramdisks.rs` |
//! | 33 `disk-image-get-kernel` | `looking::kernels` |
//! | 34 `first-boot.d` | `first_boot`, and a boot in `debian.rs` |
//!
//! 22, sizes in layouts, is held by a unit test of `blockdevice::sizes`. 27, archives, by
//! `archives`.

mod archives;
mod arm64;
mod assemble;
mod bills;
mod boot_loaders;
mod bootstrap;
mod break_points;
mod cases;
mod cloud_images;
mod command_lines;
mod compile_cache;
mod conversions;
mod disk_facts;
mod disks;
mod documents;
mod downloads;
mod element_habits;
mod examples;
mod finalisation;
mod first_boot;
mod formats;
mod guide;
mod hooks;
mod host_programs;
mod hostile;
mod images;
mod installing;
mod killing;
mod lab;
mod labels;
mod library;
mod lint;
mod looking;
mod memory;
mod messages;
mod operator;
mod outputs;
mod phase_table;
mod plans;
mod ramdisk;
mod readme;
mod records;
mod repeat;
mod resolution;
mod room;
mod run_parts;
mod rung;
mod serial_and_grub;
mod services;
mod shell_library;
mod sizes;
mod sources;
mod terminal;
mod tiers;
