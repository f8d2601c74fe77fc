// Made from rpc/schema by rpc/generate.py: change the schema, not this file.

/// What the service decides by in rpc/schema, one text for each group of methods.
enum SchemaText {
    static let groups = [
        #"""
        {"family":"spdk","methods":[{"name":"bdev_set_options","mask":"startup","decode_error"\#
        :[-32602,"Invalid parameters"],"params":[{"name":"bdev_io_pool_size","type":"u32"},{"n\#
        ame":"bdev_io_cache_size","type":"u32"},{"name":"bdev_auto_examine","type":"bool"},{"n\#
        ame":"iobuf_small_cache_size","type":"u32"},{"name":"iobuf_large_cache_size","type":"u\#
        32"},{"name":"small_buf_pool_size","type":"u64"},{"name":"large_buf_pool_size","type":\#
        "u64"}]},{"name":"bdev_get_bdevs","mask":"runtime","decode_error":[-32603,"spdk_json_d\#
        ecode_object failed"],"params":[{"name":"name","type":"str"},{"name":"timeout","type":\#
        "u64"}]},{"name":"bdev_get_iostat","mask":"runtime","decode_error":[-32603,"spdk_json_\#
        decode_object failed"],"params":[{"name":"name","type":"str"},{"name":"names","type":"\#
        strs","max_count":1024},{"name":"per_channel","type":"bool"},{"name":"reset_mode","typ\#
        e":"str","enum":["all","maxmin","error","none"]}]},{"name":"bdev_reset_iostat","mask":\#
        "runtime","decode_error":[-32603,"spdk_json_decode_object failed"],"params":[{"name":"\#
        name","type":"str"},{"name":"mode","type":"str","enum":["all","maxmin","error","none"]\#
        }]},{"name":"bdev_set_qd_sampling_period","mask":"runtime","decode_error":[-32603,"spd\#
        k_json_decode_object failed"],"params":[{"name":"name","type":"str","required":true},{\#
        "name":"period","type":"u64","required":true}]},{"name":"bdev_set_qos_limit","mask":"r\#
        untime","decode_error":[-32603,"spdk_json_decode_object failed"],"params":[{"name":"na\#
        me","type":"str","required":true},{"name":"rw_ios_per_sec","type":"u64"},{"name":"rw_m\#
        bytes_per_sec","type":"u64"},{"name":"r_mbytes_per_sec","type":"u64"},{"name":"w_mbyte\#
        s_per_sec","type":"u64"}]},{"name":"bdev_enable_histogram","mask":"runtime","decode_er\#
        ror":[-32603,"spdk_json_decode_object failed"],"params":[{"name":"name","type":"str","\#
        required":true},{"name":"enable","type":"bool","required":true},{"name":"opc","type":"\#
        str"},{"name":"granularity","type":"u8"},{"name":"min_nsec","type":"u64"},{"name":"max\#
        _nsec","type":"u64"}]},{"name":"bdev_get_histogram","mask":"runtime","decode_error":[-\#
        32603,"spdk_json_decode_object failed"],"params":[{"name":"name","type":"str","require\#
        d":true}]},{"name":"bdev_examine","mask":"runtime","decode_error":[-32602,"spdk_json_d\#
        ecode_object failed"],"params":[{"name":"name","type":"str","required":true}]},{"name"\#
        :"bdev_wait_for_examine","mask":"runtime","params_error":[-32602,"bdev_wait_for_examin\#
        e requires no parameters"],"params":[]}]}
        """#,
        #"""
        {"family":"spdk","methods":[{"name":"bdev_malloc_create","mask":"runtime","decode_erro\#
        r":[-32603,"spdk_json_decode_object failed"],"params":[{"name":"num_blocks","type":"u6\#
        4","required":true},{"name":"block_size","type":"u32","required":true},{"name":"name",\#
        "type":"str"},{"name":"uuid","type":"uuid"},{"name":"physical_block_size","type":"u32"\#
        },{"name":"optimal_io_boundary","type":"u32"},{"name":"md_size","type":"u32"},{"name":\#
        "md_interleave","type":"bool"},{"name":"dif_type","type":"i32"},{"name":"dif_is_head_o\#
        f_md","type":"bool"},{"name":"dif_pi_format","type":"u32"},{"name":"numa_id","type":"i\#
        32"}]},{"name":"bdev_malloc_delete","mask":"runtime","decode_error":[-32603,"spdk_json\#
        _decode_object failed"],"params":[{"name":"name","type":"str","required":true}]},{"nam\#
        e":"bdev_null_create","mask":"runtime","decode_error":[-32603,"spdk_json_decode_object\#
         failed"],"params":[{"name":"name","type":"str","required":true},{"name":"num_blocks",\#
        "type":"u64","required":true},{"name":"block_size","type":"u32","required":true},{"nam\#
        e":"uuid","type":"uuid"},{"name":"physical_block_size","type":"u32"},{"name":"md_size"\#
        ,"type":"u32"},{"name":"dif_type","type":"i32"},{"name":"dif_is_head_of_md","type":"bo\#
        ol"},{"name":"dif_pi_format","type":"u32"},{"name":"preferred_write_alignment","type":\#
        "u32"},{"name":"preferred_write_granularity","type":"u32"},{"name":"optimal_write_size\#
        ","type":"u32"},{"name":"preferred_unmap_alignment","type":"u32"},{"name":"preferred_u\#
        nmap_granularity","type":"u32"}]},{"name":"bdev_null_delete","mask":"runtime","decode_\#
        error":[-32603,"spdk_json_decode_object failed"],"params":[{"name":"name","type":"str"\#
        ,"required":true}]},{"name":"bdev_null_resize","mask":"runtime","decode_error":[-32603\#
        ,"spdk_json_decode_object failed"],"params":[{"name":"name","type":"str","required":tr\#
        ue},{"name":"new_size","type":"u64","required":true}]},{"name":"bdev_aio_create","mask\#
        ":"runtime","decode_error":[-32603,"spdk_json_decode_object failed"],"params":[{"name"\#
        :"filename","type":"str","required":true},{"name":"name","type":"str","required":true}\#
        ,{"name":"block_size","type":"u32"},{"name":"readonly","type":"bool"},{"name":"falloca\#
        te","type":"bool"},{"name":"uuid","type":"uuid"},{"name":"nowait","type":"bool"}]},{"n\#
        ame":"bdev_aio_rescan","mask":"runtime","decode_error":[-32603,"spdk_json_decode_objec\#
        t failed"],"params":[{"name":"name","type":"str","required":true}]},{"name":"bdev_aio_\#
        delete","mask":"runtime","decode_error":[-32603,"spdk_json_decode_object failed"],"par\#
        ams":[{"name":"name","type":"str","required":true}]},{"name":"bdev_uring_create","mask\#
        ":"runtime","decode_error":[-32603,"Unable to create URING bdev."],"params":[{"name":"\#
        filename","type":"str","required":true},{"name":"name","type":"str","required":true},{\#
        "name":"block_size","type":"u32"},{"name":"uuid","type":"uuid"}]},{"name":"bdev_uring_\#
        rescan","mask":"runtime","decode_error":[-32603,"spdk_json_decode_object failed"],"par\#
        ams":[{"name":"name","type":"str","required":true}]},{"name":"bdev_uring_delete","mask\#
        ":"runtime","decode_error":[-32603,"spdk_json_decode_object failed"],"params":[{"name"\#
        :"name","type":"str","required":true}]},{"name":"bdev_delay_create","mask":"runtime","\#
        decode_error":[-32603,"spdk_json_decode_object failed"],"params":[{"name":"name","type\#
        ":"str","required":true},{"name":"base_bdev_name","type":"str","required":true},{"name\#
        ":"avg_read_latency","type":"u64","required":true},{"name":"p99_read_latency","type":"\#
        u64","required":true},{"name":"avg_write_latency","type":"u64","required":true},{"name\#
        ":"p99_write_latency","type":"u64","required":true},{"name":"uuid","type":"uuid"}]},{"\#
        name":"bdev_delay_update_latency","mask":"runtime","decode_error":[-32603,"spdk_json_d\#
        ecode_object failed"],"params":[{"name":"delay_bdev_name","type":"str","required":true\#
        },{"name":"latency_type","type":"str","required":true,"enum":["avg_read","p99_read","a\#
        vg_write","p99_write"],"error":[-32602,"Please specify a valid latency type."]},{"name\#
        ":"latency_us","type":"u64","required":true}]},{"name":"bdev_delay_delete","mask":"run\#
        time","decode_error":[-32603,"spdk_json_decode_object failed"],"params":[{"name":"name\#
        ","type":"str","required":true}]},{"name":"bdev_error_create","mask":"runtime","decode\#
        _error":[-32603,"spdk_json_decode_object failed"],"params":[{"name":"base_name","type"\#
        :"str","required":true},{"name":"uuid","type":"uuid"}]},{"name":"bdev_error_delete","m\#
        ask":"runtime","decode_error":[-32603,"spdk_json_decode_object failed"],"params":[{"na\#
        me":"name","type":"str","required":true}]},{"name":"bdev_error_inject_error","mask":"r\#
        untime","decode_error":[-32603,"spdk_json_decode_object failed"],"params":[{"name":"na\#
        me","type":"str","required":true},{"name":"io_type","type":"str","required":true,"enum\#
        ":["clear","read","write","unmap","flush","all"]},{"name":"error_type","type":"str","r\#
        equired":true,"enum":["failure","pending","corrupt_data","nomem","nvme_failure"]},{"na\#
        me":"nvme_sct","type":"u32"},{"name":"nvme_sc","type":"u32"},{"name":"num","type":"u32\#
        "},{"name":"queue_depth","type":"u64"},{"name":"corrupt_offset","type":"u64"},{"name":\#
        "corrupt_value","type":"u8"}]}]}
        """#,
        #"""
        {"family":"spdk","methods":[{"name":"rpc_get_methods","mask":"any","decode_error":[-32\#
        602,"Invalid parameters"],"params":[{"name":"current","type":"bool"},{"name":"include_\#
        aliases","type":"bool"}]},{"name":"spdk_get_version","mask":"any","params_error":[-326\#
        02,"spdk_get_version method requires no parameters"],"params":[]},{"name":"spdk_kill_i\#
        nstance","mask":"runtime","decode_error":[-32602,"Invalid parameters"],"params":[{"nam\#
        e":"sig_name","type":"str","required":true,"enum":["SIGINT","SIGTERM","SIGQUIT","SIGHU\#
        P","SIGKILL","SIGUSR1"],"also":["2","15","3","1","9","10"]}]},{"name":"framework_start\#
        _init","mask":"startup","params_error":[-32602,"framework_start_init requires no param\#
        eters"],"params":[]},{"name":"framework_wait_init","mask":"any","ignores_params":true,\#
        "params":[]},{"name":"framework_get_subsystems","mask":"runtime","params_error":[-3260\#
        2,"'framework_get_subsystems' requires no arguments"],"params":[]},{"name":"framework_\#
        get_config","mask":"runtime","decode_error":[-32602,"Invalid arguments"],"params":[{"n\#
        ame":"name","type":"str","required":true},{"name":"with_batches","type":"bool"}]},{"na\#
        me":"framework_get_reactors","mask":"runtime","params_error":[-32602,"`framework_get_r\#
        eactors` requires no arguments"],"params":[]},{"name":"thread_get_stats","mask":"runti\#
        me","params_error":[-32602,"'thread_get_stats' requires no arguments"],"params":[]},{"\#
        name":"thread_get_pollers","mask":"runtime","params_error":[-32602,"'thread_get_poller\#
        s' requires no arguments"],"params":[]},{"name":"thread_get_io_channels","mask":"runti\#
        me","params_error":[-32602,"'thread_get_io_channels' requires no arguments"],"params":\#
        []},{"name":"framework_get_scheduler","mask":"runtime","params_error":[-32602,"'rpc_ge\#
        t_scheduler' requires no arguments"],"params":[]},{"name":"framework_get_pci_devices",\#
        "mask":"runtime","params_error":[-32602,"framework_get_pci_devices doesn't accept any \#
        parameters.\n"],"params":[]},{"name":"sock_get_default_impl","mask":"any","params_erro\#
        r":[-32602,"sock_get_default_impl requires no parameters"],"params":[]},{"name":"iobuf\#
        _set_options","mask":"startup","decode_error":[-32602,"spdk_json_decode_object failed"\#
        ],"params":[{"name":"small_pool_count","type":"u64"},{"name":"large_pool_count","type"\#
        :"u64"},{"name":"small_bufsize","type":"u32"},{"name":"large_bufsize","type":"u32"},{"\#
        name":"enable_numa","type":"bool"}]},{"name":"iobuf_get_stats","mask":"runtime","ignor\#
        es_params":true,"params":[]}]}
        """#,
        #"""
        {"family":"spdk","methods":[{"name":"log_set_level","mask":"any","decode_error":[-3260\#
        3,"spdk_json_decode_object failed"],"params":[{"name":"level","type":"str","required":\#
        true,"enum":["ERROR","WARNING","NOTICE","INFO","DEBUG"],"nocase":true,"error":[-32602,\#
        "invalid log level"]}]},{"name":"log_get_level","mask":"any","params_error":[-32602,"l\#
        og_get_level requires no parameters"],"params":[]},{"name":"log_set_print_level","mask\#
        ":"any","decode_error":[-32603,"spdk_json_decode_object failed"],"params":[{"name":"le\#
        vel","type":"str","required":true,"enum":["ERROR","WARNING","NOTICE","INFO","DEBUG"],"\#
        nocase":true,"error":[-32602,"invalid log level"]}]},{"name":"log_get_print_level","ma\#
        sk":"any","params_error":[-32602,"log_get_print_level requires no parameters"],"params\#
        ":[]},{"name":"log_set_flag","mask":"any","decode_error":[-32603,"spdk_json_decode_obj\#
        ect failed"],"params":[{"name":"flag","type":"str","required":true}]},{"name":"log_cle\#
        ar_flag","mask":"any","decode_error":[-32603,"spdk_json_decode_object failed"],"params\#
        ":[{"name":"flag","type":"str","required":true}]},{"name":"log_get_flags","mask":"any"\#
        ,"params_error":[-32602,"log_get_flags requires no parameters"],"params":[]},{"name":"\#
        log_enable_timestamps","mask":"runtime","decode_error":[-32602,"spdk_json_decode_objec\#
        t failed"],"params":[{"name":"enabled","type":"bool","required":true}]}]}
        """#,
        #"""
        {"family":"spdk","methods":[{"name":"notify_get_types","mask":"runtime","params_error"\#
        :[-32602,"No parameters required"],"params":[]},{"name":"notify_get_notifications","ma\#
        sk":"runtime","decode_error":[-32602,"Invalid argument"],"params":[{"name":"id","type"\#
        :"u64"},{"name":"max","type":"u64"}]}]}
        """#,
        #"""
        {"family":"snap","methods":[{"name":"snap_log_level_set","mask":"runtime","params":[{"\#
        name":"level","type":"u32","required":true,"min":0,"max":5}]},{"name":"snap_global_par\#
        am_list","mask":"runtime","params":[]},{"name":"emulation_function_list","mask":"runti\#
        me","params":[{"name":"all","type":"bool"}]},{"name":"spdk_bdev_create","mask":"runtim\#
        e","params":[{"name":"bdev_name","type":"str","required":true,"aliases":["bdev"]}]},{"\#
        name":"spdk_bdev_destroy","mask":"runtime","params":[{"name":"bdev_name","type":"str",\#
        "required":true,"aliases":["bdev"]}]},{"name":"bdev_list","mask":"runtime","params":[]\#
        }]}
        """#,
        #"""
        {"family":"snap","methods":[{"name":"virtio_blk_controller_create","mask":"runtime","p\#
        arams":[{"name":"vuid","type":"str"},{"name":"vhca_id","type":"u32"},{"name":"pf_id","\#
        type":"u32"},{"name":"vf_id","type":"u32"},{"name":"pci_bdf","type":"str"},{"name":"ct\#
        rl_id","type":"str"},{"name":"bdev","type":"str"},{"name":"num_queues","type":"u32","m\#
        in":1},{"name":"queue_size","type":"u32","min":1,"max":256},{"name":"size_max","type":\#
        "u32","min":1},{"name":"seg_max","type":"u32","min":1},{"name":"vblk_id","type":"str",\#
        "max_count":20},{"name":"admin_q","type":"bool","aliases":["dbg_admin_q"]},{"name":"dy\#
        namic_msix","type":"bool"},{"name":"vf_num_msix","type":"u32","min":2},{"name":"force_\#
        in_order","type":"bool"},{"name":"indirect_desc","type":"bool"},{"name":"read_only","t\#
        ype":"bool"},{"name":"suspended","type":"bool"},{"name":"live_update_listener","type":\#
        "bool"},{"name":"dbg_bdev_type","type":"str","enum":["null","none","spdk"]},{"name":"d\#
        bg_local_optimized","type":"bool"}]},{"name":"virtio_blk_controller_destroy","mask":"r\#
        untime","params":[{"name":"ctrl_id","type":"str","required":true},{"name":"force","typ\#
        e":"bool"},{"name":"release_msix","type":"bool"}]},{"name":"virtio_blk_controller_susp\#
        end","mask":"runtime","params":[{"name":"ctrl_id","type":"str","required":true},{"name\#
        ":"timeout_ms","type":"u32"},{"name":"events_only","type":"bool"},{"name":"live_update\#
        _notifier","type":"bool"}]},{"name":"virtio_blk_controller_resume","mask":"runtime","p\#
        arams":[{"name":"ctrl_id","type":"str","required":true}]},{"name":"virtio_blk_controll\#
        er_bdev_attach","mask":"runtime","params":[{"name":"ctrl_id","type":"str","required":t\#
        rue},{"name":"bdev","type":"str","required":true},{"name":"vblk_id","type":"str","max_\#
        count":20},{"name":"dbg_bdev_type","type":"str","enum":["null","none","spdk"]}]},{"nam\#
        e":"virtio_blk_controller_bdev_detach","mask":"runtime","params":[{"name":"ctrl_id","t\#
        ype":"str","required":true}]},{"name":"virtio_blk_controller_list","mask":"runtime","p\#
        arams":[{"name":"ctrl_id","type":"str"}]},{"name":"virtio_blk_controller_modify","mask\#
        ":"runtime","params":[{"name":"ctrl_id","type":"str","required":true},{"name":"num_que\#
        ues","type":"u32","min":1},{"name":"num_msix","type":"u32","min":2}]},{"name":"virtio_\#
        blk_controller_dbg_io_stats_get","mask":"runtime","params":[{"name":"ctrl_id","type":"\#
        str"}]},{"name":"virtio_blk_controller_dbg_debug_stats_get","mask":"runtime","params":\#
        [{"name":"ctrl_id","type":"str"}]}]}
        """#,
    ]
}
