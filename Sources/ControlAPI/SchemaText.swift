// Made from rpc/schema by rpc/generate.py: change the schema, not this file.

/// What the service decides by in rpc/schema, one text for each group of methods.
enum SchemaText {
    static let groups = [
        #"""
        {"family":"spdk","methods":[{"name":"bdev_set_options","mask":"startup","decode_error"\#
        :[-32602,"Invalid parameters"],"params":[{"name":"bdev_io_pool_size","type":"u32","def\#
        ault":65535},{"name":"bdev_io_cache_size","type":"u32","default":256},{"name":"bdev_au\#
        to_examine","type":"bool","default":true},{"name":"iobuf_small_cache_size","type":"u32\#
        ","default":128},{"name":"iobuf_large_cache_size","type":"u32","default":16},{"name":"\#
        small_buf_pool_size","type":"u64"},{"name":"large_buf_pool_size","type":"u64"}]},{"nam\#
        e":"bdev_get_bdevs","mask":"runtime","decode_error":[-32603,"spdk_json_decode_object f\#
        ailed"],"params":[{"name":"name","type":"str"},{"name":"timeout","type":"u64","default\#
        ":0}]},{"name":"bdev_get_iostat","mask":"runtime","decode_error":[-32603,"spdk_json_de\#
        code_object failed"],"params":[{"name":"name","type":"str"},{"name":"names","type":"st\#
        rs","max_count":1024},{"name":"per_channel","type":"bool","default":false},{"name":"re\#
        set_mode","type":"str","default":"none","enum":["all","maxmin","error","none"]}]},{"na\#
        me":"bdev_reset_iostat","mask":"runtime","decode_error":[-32603,"spdk_json_decode_obje\#
        ct failed"],"params":[{"name":"name","type":"str"},{"name":"mode","type":"str","defaul\#
        t":"all","enum":["all","maxmin","error","none"]}]},{"name":"bdev_set_qd_sampling_perio\#
        d","mask":"runtime","decode_error":[-32603,"spdk_json_decode_object failed"],"params":\#
        [{"name":"name","type":"str","required":true},{"name":"period","type":"u64","required"\#
        :true}]},{"name":"bdev_set_qos_limit","mask":"runtime","decode_error":[-32603,"spdk_js\#
        on_decode_object failed"],"params":[{"name":"name","type":"str","required":true},{"nam\#
        e":"rw_ios_per_sec","type":"u64"},{"name":"rw_mbytes_per_sec","type":"u64"},{"name":"r\#
        _mbytes_per_sec","type":"u64"},{"name":"w_mbytes_per_sec","type":"u64"}]},{"name":"bde\#
        v_enable_histogram","mask":"runtime","decode_error":[-32603,"spdk_json_decode_object f\#
        ailed"],"params":[{"name":"name","type":"str","required":true},{"name":"enable","type"\#
        :"bool","required":true},{"name":"opc","type":"str"},{"name":"granularity","type":"u8"\#
        },{"name":"min_nsec","type":"u64"},{"name":"max_nsec","type":"u64"}]},{"name":"bdev_ge\#
        t_histogram","mask":"runtime","decode_error":[-32603,"spdk_json_decode_object failed"]\#
        ,"params":[{"name":"name","type":"str","required":true}]},{"name":"bdev_examine","mask\#
        ":"runtime","decode_error":[-32602,"spdk_json_decode_object failed"],"params":[{"name"\#
        :"name","type":"str","required":true}]},{"name":"bdev_wait_for_examine","mask":"runtim\#
        e","params_error":[-32602,"bdev_wait_for_examine requires no parameters"],"params":[]}\#
        ]}
        """#,
        #"""
        {"family":"spdk","methods":[{"name":"bdev_malloc_create","mask":"runtime","decode_erro\#
        r":[-32603,"spdk_json_decode_object failed"],"params":[{"name":"num_blocks","type":"u6\#
        4","required":true},{"name":"block_size","type":"u32","required":true},{"name":"name",\#
        "type":"str"},{"name":"uuid","type":"uuid"},{"name":"physical_block_size","type":"u32"\#
        },{"name":"optimal_io_boundary","type":"u32"},{"name":"md_size","type":"u32","default"\#
        :0},{"name":"md_interleave","type":"bool","default":false},{"name":"dif_type","type":"\#
        i32","default":0},{"name":"dif_is_head_of_md","type":"bool","default":false},{"name":"\#
        dif_pi_format","type":"u32","default":0},{"name":"numa_id","type":"i32","default":-1}]\#
        },{"name":"bdev_malloc_delete","mask":"runtime","decode_error":[-32603,"spdk_json_deco\#
        de_object failed"],"params":[{"name":"name","type":"str","required":true}]},{"name":"b\#
        dev_null_create","mask":"runtime","decode_error":[-32603,"spdk_json_decode_object fail\#
        ed"],"params":[{"name":"name","type":"str","required":true},{"name":"num_blocks","type\#
        ":"u64","required":true},{"name":"block_size","type":"u32","required":true},{"name":"u\#
        uid","type":"uuid"},{"name":"physical_block_size","type":"u32"},{"name":"md_size","typ\#
        e":"u32","default":0},{"name":"dif_type","type":"i32","default":0},{"name":"dif_is_hea\#
        d_of_md","type":"bool","default":false},{"name":"dif_pi_format","type":"u32","default"\#
        :0},{"name":"preferred_write_alignment","type":"u32"},{"name":"preferred_write_granula\#
        rity","type":"u32"},{"name":"optimal_write_size","type":"u32"},{"name":"preferred_unma\#
        p_alignment","type":"u32"},{"name":"preferred_unmap_granularity","type":"u32"}]},{"nam\#
        e":"bdev_null_delete","mask":"runtime","decode_error":[-32603,"spdk_json_decode_object\#
         failed"],"params":[{"name":"name","type":"str","required":true}]},{"name":"bdev_null_\#
        resize","mask":"runtime","decode_error":[-32603,"spdk_json_decode_object failed"],"par\#
        ams":[{"name":"name","type":"str","required":true},{"name":"new_size","type":"u64","re\#
        quired":true}]},{"name":"bdev_aio_create","mask":"runtime","decode_error":[-32603,"spd\#
        k_json_decode_object failed"],"params":[{"name":"filename","type":"str","required":tru\#
        e},{"name":"name","type":"str","required":true},{"name":"block_size","type":"u32"},{"n\#
        ame":"readonly","type":"bool","default":false},{"name":"fallocate","type":"bool","defa\#
        ult":false},{"name":"uuid","type":"uuid"},{"name":"nowait","type":"bool","default":fal\#
        se}]},{"name":"bdev_aio_rescan","mask":"runtime","decode_error":[-32603,"spdk_json_dec\#
        ode_object failed"],"params":[{"name":"name","type":"str","required":true}]},{"name":"\#
        bdev_aio_delete","mask":"runtime","decode_error":[-32603,"spdk_json_decode_object fail\#
        ed"],"params":[{"name":"name","type":"str","required":true}]},{"name":"bdev_uring_crea\#
        te","mask":"runtime","decode_error":[-32603,"Unable to create URING bdev."],"params":[\#
        {"name":"filename","type":"str","required":true},{"name":"name","type":"str","required\#
        ":true},{"name":"block_size","type":"u32"},{"name":"uuid","type":"uuid"}]},{"name":"bd\#
        ev_uring_rescan","mask":"runtime","decode_error":[-32603,"spdk_json_decode_object fail\#
        ed"],"params":[{"name":"name","type":"str","required":true}]},{"name":"bdev_uring_dele\#
        te","mask":"runtime","decode_error":[-32603,"spdk_json_decode_object failed"],"params"\#
        :[{"name":"name","type":"str","required":true}]},{"name":"bdev_delay_create","mask":"r\#
        untime","decode_error":[-32603,"spdk_json_decode_object failed"],"params":[{"name":"na\#
        me","type":"str","required":true},{"name":"base_bdev_name","type":"str","required":tru\#
        e},{"name":"avg_read_latency","type":"u64","required":true},{"name":"p99_read_latency"\#
        ,"type":"u64","required":true},{"name":"avg_write_latency","type":"u64","required":tru\#
        e},{"name":"p99_write_latency","type":"u64","required":true},{"name":"uuid","type":"uu\#
        id"}]},{"name":"bdev_delay_update_latency","mask":"runtime","decode_error":[-32603,"sp\#
        dk_json_decode_object failed"],"params":[{"name":"delay_bdev_name","type":"str","requi\#
        red":true},{"name":"latency_type","type":"str","required":true,"enum":["avg_read","p99\#
        _read","avg_write","p99_write"],"error":[-32602,"Please specify a valid latency type."\#
        ]},{"name":"latency_us","type":"u64","required":true}]},{"name":"bdev_delay_delete","m\#
        ask":"runtime","decode_error":[-32603,"spdk_json_decode_object failed"],"params":[{"na\#
        me":"name","type":"str","required":true}]},{"name":"bdev_error_create","mask":"runtime\#
        ","decode_error":[-32603,"spdk_json_decode_object failed"],"params":[{"name":"base_nam\#
        e","type":"str","required":true},{"name":"uuid","type":"uuid"}]},{"name":"bdev_error_d\#
        elete","mask":"runtime","decode_error":[-32603,"spdk_json_decode_object failed"],"para\#
        ms":[{"name":"name","type":"str","required":true}]},{"name":"bdev_error_inject_error",\#
        "mask":"runtime","decode_error":[-32603,"spdk_json_decode_object failed"],"params":[{"\#
        name":"name","type":"str","required":true},{"name":"io_type","type":"str","required":t\#
        rue,"enum":["clear","read","write","unmap","flush","all"]},{"name":"error_type","type"\#
        :"str","required":true,"enum":["failure","pending","corrupt_data","nomem","nvme_failur\#
        e"]},{"name":"nvme_sct","type":"u32"},{"name":"nvme_sc","type":"u32"},{"name":"num","t\#
        ype":"u32","default":1},{"name":"queue_depth","type":"u64","default":0},{"name":"corru\#
        pt_offset","type":"u64","default":0},{"name":"corrupt_value","type":"u8"}]}]}
        """#,
        #"""
        {"family":"spdk","methods":[{"name":"bdev_nvme_attach_controller","mask":"runtime","de\#
        code_error":[-32603,"spdk_json_decode_object failed"],"params":[{"name":"name","type":\#
        "str","required":true},{"name":"trtype","type":"str","required":true},{"name":"traddr"\#
        ,"type":"str","required":true},{"name":"adrfam","type":"str"},{"name":"trsvcid","type"\#
        :"str"},{"name":"priority","type":"str"},{"name":"subnqn","type":"str"},{"name":"hostn\#
        qn","type":"str"},{"name":"hostaddr","type":"str"},{"name":"hostsvcid","type":"str"},{\#
        "name":"prchk_reftag","type":"bool","default":false},{"name":"prchk_guard","type":"boo\#
        l","default":false},{"name":"hdgst","type":"bool","default":false},{"name":"ddgst","ty\#
        pe":"bool","default":false},{"name":"fabrics_connect_timeout_us","type":"u64"},{"name"\#
        :"multipath","type":"str","default":"failover","enum":["disable","failover","multipath\#
        "]},{"name":"num_io_queues","type":"u32","default":1024},{"name":"ctrlr_loss_timeout_s\#
        ec","type":"i32"},{"name":"reconnect_delay_sec","type":"u32"},{"name":"fast_io_fail_ti\#
        meout_sec","type":"u32"},{"name":"psk","type":"str"},{"name":"max_bdevs","type":"u32",\#
        "default":128},{"name":"dhchap_key","type":"str"},{"name":"dhchap_ctrlr_key","type":"s\#
        tr"},{"name":"allow_unrecognized_csi","type":"bool","default":false},{"name":"disable_\#
        sq_flow_control","type":"bool","default":false}]},{"name":"bdev_nvme_get_controllers",\#
        "mask":"runtime","decode_error":[-32603,"spdk_json_decode_object failed"],"params":[{"\#
        name":"name","type":"str"}]},{"name":"bdev_nvme_detach_controller","mask":"runtime","d\#
        ecode_error":[-32603,"spdk_json_decode_object failed"],"params":[{"name":"name","type"\#
        :"str","required":true},{"name":"trtype","type":"str"},{"name":"traddr","type":"str"},\#
        {"name":"adrfam","type":"str"},{"name":"trsvcid","type":"str"},{"name":"subnqn","type"\#
        :"str"},{"name":"hostaddr","type":"str"},{"name":"hostsvcid","type":"str"}]},{"name":"\#
        bdev_nvme_reset_controller","mask":"runtime","decode_error":[-32602,"Invalid argument"\#
        ],"params":[{"name":"name","type":"str","required":true},{"name":"cntlid","type":"u16"\#
        }]},{"name":"bdev_nvme_set_options","mask":"any","decode_error":[-32603,"spdk_json_dec\#
        ode_object failed"],"params":[{"name":"action_on_timeout","type":"str","enum":["none",\#
        "reset","abort"]},{"name":"timeout_us","type":"u64"},{"name":"timeout_admin_us","type"\#
        :"u64"},{"name":"keep_alive_timeout_ms","type":"u32"},{"name":"arbitration_burst","typ\#
        e":"u32"},{"name":"low_priority_weight","type":"u32"},{"name":"medium_priority_weight"\#
        ,"type":"u32"},{"name":"high_priority_weight","type":"u32"},{"name":"nvme_adminq_poll_\#
        period_us","type":"u64"},{"name":"nvme_ioq_poll_period_us","type":"u64"},{"name":"io_q\#
        ueue_requests","type":"u32"},{"name":"delay_cmd_submit","type":"bool"},{"name":"transp\#
        ort_retry_count","type":"u32"},{"name":"retry_count","type":"u32"},{"name":"bdev_retry\#
        _count","type":"i32"},{"name":"transport_ack_timeout","type":"u8"},{"name":"ctrlr_loss\#
        _timeout_sec","type":"i32"},{"name":"reconnect_delay_sec","type":"u32"},{"name":"fast_\#
        io_fail_timeout_sec","type":"u32"},{"name":"disable_auto_failback","type":"bool"},{"na\#
        me":"generate_uuids","type":"bool"},{"name":"transport_tos","type":"u8"},{"name":"nvme\#
        _error_stat","type":"bool"},{"name":"rdma_srq_size","type":"u32"},{"name":"io_path_sta\#
        t","type":"bool"},{"name":"allow_accel_sequence","type":"bool"},{"name":"enable_flush"\#
        ,"type":"bool"}]},{"name":"bdev_nvme_set_multipath_policy","mask":"runtime","decode_er\#
        ror":[-32603,"spdk_json_decode_object failed"],"params":[{"name":"name","type":"str","\#
        required":true},{"name":"policy","type":"str","required":true,"enum":["active_passive"\#
        ,"active_active"]},{"name":"selector","type":"str","default":"round_robin","enum":["ro\#
        und_robin","queue_depth"]},{"name":"rr_min_io","type":"u32","default":1,"min":1}]},{"n\#
        ame":"bdev_nvme_get_io_paths","mask":"runtime","decode_error":[-32603,"spdk_json_decod\#
        e_object failed"],"params":[{"name":"name","type":"str"}]},{"name":"bdev_nvme_start_di\#
        scovery","mask":"runtime","decode_error":[-32603,"spdk_json_decode_object failed"],"pa\#
        rams":[{"name":"name","type":"str","required":true},{"name":"trtype","type":"str","req\#
        uired":true},{"name":"traddr","type":"str","required":true},{"name":"adrfam","type":"s\#
        tr"},{"name":"trsvcid","type":"str"},{"name":"hostnqn","type":"str"},{"name":"wait_for\#
        _attach","type":"bool","default":false},{"name":"attach_timeout_ms","type":"u64"},{"na\#
        me":"ctrlr_loss_timeout_sec","type":"i32"},{"name":"reconnect_delay_sec","type":"u32"}\#
        ,{"name":"fast_io_fail_timeout_sec","type":"u32"},{"name":"subnqns","type":"strs","max\#
        _count":1024}]},{"name":"bdev_nvme_stop_discovery","mask":"runtime","decode_error":[-3\#
        2603,"spdk_json_decode_object failed"],"params":[{"name":"name","type":"str","required\#
        ":true}]},{"name":"bdev_nvme_get_discovery_info","mask":"runtime","ignores_params":tru\#
        e,"params":[]}]}
        """#,
        #"""
        {"family":"spdk","methods":[{"name":"rpc_get_methods","mask":"any","decode_error":[-32\#
        602,"Invalid parameters"],"params":[{"name":"current","type":"bool","default":false},{\#
        "name":"include_aliases","type":"bool","default":false}]},{"name":"spdk_get_version","\#
        mask":"any","params_error":[-32602,"spdk_get_version method requires no parameters"],"\#
        params":[]},{"name":"spdk_kill_instance","mask":"runtime","decode_error":[-32602,"Inva\#
        lid parameters"],"params":[{"name":"sig_name","type":"str","required":true,"enum":["SI\#
        GINT","SIGTERM","SIGQUIT","SIGHUP","SIGKILL","SIGUSR1"],"also":["2","15","3","1","9","\#
        10"]}]},{"name":"framework_start_init","mask":"startup","params_error":[-32602,"framew\#
        ork_start_init requires no parameters"],"params":[]},{"name":"framework_wait_init","ma\#
        sk":"any","ignores_params":true,"params":[]},{"name":"framework_get_subsystems","mask"\#
        :"runtime","params_error":[-32602,"'framework_get_subsystems' requires no arguments"],\#
        "params":[]},{"name":"framework_get_config","mask":"runtime","decode_error":[-32602,"I\#
        nvalid arguments"],"params":[{"name":"name","type":"str","required":true},{"name":"wit\#
        h_batches","type":"bool","default":false}]},{"name":"framework_get_reactors","mask":"r\#
        untime","params_error":[-32602,"`framework_get_reactors` requires no arguments"],"para\#
        ms":[]},{"name":"thread_get_stats","mask":"runtime","params_error":[-32602,"'thread_ge\#
        t_stats' requires no arguments"],"params":[]},{"name":"thread_get_pollers","mask":"run\#
        time","params_error":[-32602,"'thread_get_pollers' requires no arguments"],"params":[]\#
        },{"name":"thread_get_io_channels","mask":"runtime","params_error":[-32602,"'thread_ge\#
        t_io_channels' requires no arguments"],"params":[]},{"name":"framework_get_scheduler",\#
        "mask":"runtime","params_error":[-32602,"'rpc_get_scheduler' requires no arguments"],"\#
        params":[]},{"name":"framework_get_pci_devices","mask":"runtime","params_error":[-3260\#
        2,"framework_get_pci_devices doesn't accept any parameters.\n"],"params":[]},{"name":"\#
        iobuf_set_options","mask":"startup","decode_error":[-32602,"spdk_json_decode_object fa\#
        iled"],"params":[{"name":"small_pool_count","type":"u64","default":8192},{"name":"larg\#
        e_pool_count","type":"u64","default":1024},{"name":"small_bufsize","type":"u32","defau\#
        lt":8192},{"name":"large_bufsize","type":"u32","default":135168},{"name":"enable_numa"\#
        ,"type":"bool","default":false}]},{"name":"iobuf_get_stats","mask":"runtime","ignores_\#
        params":true,"params":[]}]}
        """#,
        #"""
        {"family":"snap","methods":[{"name":"emulation_function_list","mask":"runtime","params\#
        ":[{"name":"all","type":"bool","default":false}]},{"name":"virtio_blk_function_create"\#
        ,"mask":"runtime","params":[{"name":"vid","type":"u16"},{"name":"id","type":"u16"},{"n\#
        ame":"ssid","type":"u16"},{"name":"ssvid","type":"u16"},{"name":"revid","type":"u8"},{\#
        "name":"class_code","type":"u32","max":16777215},{"name":"num_msix","type":"u32","min"\#
        :2,"max":2048},{"name":"total_vf","type":"u32"},{"name":"bdev","type":"str"},{"name":"\#
        num_queues","type":"u32","min":1,"max":65535},{"name":"queue_depth","type":"u32","min"\#
        :1,"max":256},{"name":"transitional_device","type":"bool","default":false}]},{"name":"\#
        nvme_function_create","mask":"runtime","params":[{"name":"vid","type":"u16"},{"name":"\#
        id","type":"u16"},{"name":"ssid","type":"u16"},{"name":"ssvid","type":"u16"},{"name":"\#
        revid","type":"u8"},{"name":"class_code","type":"u32","max":16777215},{"name":"num_msi\#
        x","type":"u32","min":2,"max":2048},{"name":"total_vf","type":"u32"}]},{"name":"virtio\#
        _blk_function_destroy","mask":"runtime","params":[{"name":"vuid","type":"str"},{"name"\#
        :"vhca_id","type":"u32"}]},{"name":"nvme_function_destroy","mask":"runtime","params":[\#
        {"name":"vuid","type":"str"},{"name":"vhca_id","type":"u32"}]},{"name":"virtio_blk_con\#
        troller_hotplug","mask":"runtime","params":[{"name":"ctrl_id","type":"str","required":\#
        true},{"name":"wait_for_done","type":"bool","default":false}]},{"name":"virtio_blk_con\#
        troller_hotunplug","mask":"runtime","params":[{"name":"ctrl_id","type":"str","required\#
        ":true},{"name":"wait_for_done","type":"bool","default":false}]},{"name":"nvme_control\#
        ler_hotplug","mask":"runtime","params":[{"name":"ctrl_id","type":"str","required":true\#
        },{"name":"wait_for_done","type":"bool","default":false}]},{"name":"nvme_controller_ho\#
        tunplug","mask":"runtime","params":[{"name":"ctrl_id","type":"str","required":true},{"\#
        name":"wait_for_done","type":"bool","default":false}]},{"name":"virtio_blk_emulation_d\#
        evice_attach","mask":"runtime","params":[{"name":"vid","type":"u16"},{"name":"id","typ\#
        e":"u16"},{"name":"ssid","type":"u16"},{"name":"ssvid","type":"u16"},{"name":"revid","\#
        type":"u8"},{"name":"class_code","type":"u32","max":16777215},{"name":"num_msix","type\#
        ":"u32","min":2,"max":2048},{"name":"total_vf","type":"u32"},{"name":"bdev","type":"st\#
        r"},{"name":"num_queues","type":"u32","min":1,"max":65535},{"name":"queue_depth","type\#
        ":"u32","min":1,"max":256},{"name":"transitional_device","type":"bool","default":false\#
        }]},{"name":"nvme_emulation_device_attach","mask":"runtime","params":[{"name":"vid","t\#
        ype":"u16"},{"name":"id","type":"u16"},{"name":"ssid","type":"u16"},{"name":"ssvid","t\#
        ype":"u16"},{"name":"revid","type":"u8"},{"name":"class_code","type":"u32","max":16777\#
        215},{"name":"num_msix","type":"u32","min":2,"max":2048},{"name":"total_vf","type":"u3\#
        2"},{"name":"protocol","type":"str","default":"nvme","enum":["nvme"]}]},{"name":"emula\#
        tion_device_detach_prepare","mask":"runtime","params":[{"name":"vuid","type":"str"},{"\#
        name":"vhca_id","type":"u32"},{"name":"ctrl_id","type":"str"}]},{"name":"emulation_dev\#
        ice_detach","mask":"runtime","params":[{"name":"vuid","type":"str"},{"name":"vhca_id",\#
        "type":"u32"},{"name":"force","type":"bool","default":false}]}]}
        """#,
        #"""
        {"family":"snap","methods":[{"name":"softsnap_gap_histogram_get","mask":"runtime","par\#
        ams":[{"name":"vuid","type":"str"}]}]}
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
        {"family":"snap","methods":[{"name":"virtio_blk_controller_vfs_msix_reclaim","mask":"r\#
        untime","params":[{"name":"ctrl_id","type":"str","required":true}]},{"name":"nvme_cont\#
        roller_vfs_msix_reclaim","mask":"runtime","params":[{"name":"ctrl_id","type":"str","re\#
        quired":true}]},{"name":"softsnap_msix_plan","mask":"runtime","params":[{"name":"ctrl_\#
        id","type":"str"},{"name":"vuid","type":"str"},{"name":"pf_id","type":"u32"},{"name":"\#
        vfs","type":"u32s","min":2,"max":2048,"max_count":4096},{"name":"count","type":"u32","\#
        min":1,"max":4096},{"name":"num_msix","type":"u32","min":2,"max":2048}]}]}
        """#,
        #"""
        {"family":"spdk","methods":[{"name":"notify_get_types","mask":"runtime","params_error"\#
        :[-32602,"No parameters required"],"params":[]},{"name":"notify_get_notifications","ma\#
        sk":"runtime","decode_error":[-32602,"Invalid argument"],"params":[{"name":"id","type"\#
        :"u64","default":0},{"name":"max","type":"u64"}]}]}
        """#,
        #"""
        {"family":"snap","methods":[{"name":"nvme_subsystem_create","mask":"runtime","params":\#
        [{"name":"nqn","type":"str","required":true,"max_count":223},{"name":"serial_number","\#
        type":"str","default":"MNC12","max_count":20},{"name":"model_number","type":"str","def\#
        ault":"BlueField NVMe SNAP Controller","max_count":40},{"name":"nn","type":"u32","defa\#
        ult":4294967294,"min":1,"max":4294967294},{"name":"mnan","type":"u32","default":1024,"\#
        min":1,"max":4294967294},{"name":"single_ctrl","type":"bool","default":false}]},{"name\#
        ":"nvme_subsystem_destroy","mask":"runtime","params":[{"name":"nqn","type":"str","requ\#
        ired":true,"max_count":223},{"name":"force","type":"bool","default":false}]},{"name":"\#
        nvme_subsystem_list","mask":"runtime","params":[]},{"name":"nvme_namespace_create","ma\#
        sk":"runtime","params":[{"name":"nqn","type":"str","required":true,"max_count":223},{"\#
        name":"nsid","type":"u32","required":true},{"name":"bdev_name","type":"str","required"\#
        :true},{"name":"uuid","type":"uuid"},{"name":"bdev_type","type":"str","default":"spdk"\#
        ,"enum":["spdk"]},{"name":"nguid","type":"str"},{"name":"eui64","type":"str"}]},{"name\#
        ":"nvme_namespace_destroy","mask":"runtime","params":[{"name":"nqn","type":"str","requ\#
        ired":true,"max_count":223},{"name":"nsid","type":"u32","required":true}]},{"name":"nv\#
        me_namespace_list","mask":"runtime","params":[{"name":"nqn","type":"str"}]},{"name":"n\#
        vme_controller_create","mask":"runtime","params":[{"name":"nqn","type":"str","required\#
        ":true,"max_count":223},{"name":"vuid","type":"str"},{"name":"vhca_id","type":"u32"},{\#
        "name":"pf_id","type":"u32"},{"name":"vf_id","type":"u32"},{"name":"pci_bdf","type":"s\#
        tr"},{"name":"ctrl_id","type":"str"},{"name":"num_queues","type":"u32","max":65535},{"\#
        name":"mdts","type":"u32","default":7,"min":1,"max":7},{"name":"fw_slots","type":"u32"\#
        ,"default":4,"min":1,"max":7},{"name":"write_zeroes","type":"bool","default":false},{"\#
        name":"compare","type":"bool","default":false},{"name":"compare_write","type":"bool","\#
        default":false},{"name":"deallocate_dsm","type":"bool","default":false},{"name":"suspe\#
        nded","type":"bool","default":false},{"name":"admin_only","type":"bool","default":fals\#
        e},{"name":"dynamic_msix","type":"bool","default":false},{"name":"vf_num_msix","type":\#
        "u32","min":2},{"name":"live_update_listener","type":"bool","default":false},{"name":"\#
        listener_timeout_ms","type":"u32","default":600000,"min":1,"max":86400000},{"name":"qu\#
        irks","type":"u32","default":0},{"name":"snapshot","type":"str"}]},{"name":"nvme_contr\#
        oller_destroy","mask":"runtime","params":[{"name":"ctrl_id","type":"str","required":tr\#
        ue},{"name":"release_msix","type":"bool","default":false},{"name":"force","type":"bool\#
        ","default":false},{"name":"if_listener","type":"bool","default":false}]},{"name":"nvm\#
        e_controller_suspend","mask":"runtime","params":[{"name":"ctrl_id","type":"str","requi\#
        red":true},{"name":"timeout_ms","type":"u32"},{"name":"force","type":"bool","default":\#
        false},{"name":"admin_only","type":"bool","default":false},{"name":"live_update_notifi\#
        er","type":"bool","default":false}]},{"name":"nvme_controller_resume","mask":"runtime"\#
        ,"params":[{"name":"ctrl_id","type":"str","required":true},{"name":"live_update","type\#
        ":"bool","default":false}]},{"name":"nvme_controller_attach_ns","mask":"runtime","para\#
        ms":[{"name":"ctrl_id","type":"str","required":true},{"name":"nsid","type":"u32","requ\#
        ired":true}]},{"name":"nvme_controller_detach_ns","mask":"runtime","params":[{"name":"\#
        ctrl_id","type":"str","required":true},{"name":"nsid","type":"u32","required":true}]},\#
        {"name":"nvme_controller_list","mask":"runtime","params":[{"name":"ctrl_id","type":"st\#
        r"},{"name":"nqn","type":"str"}]},{"name":"nvme_controller_modify","mask":"runtime","p\#
        arams":[{"name":"ctrl_id","type":"str","required":true},{"name":"num_queues","type":"u\#
        32","min":1,"max":65535},{"name":"num_msix","type":"u32","min":2}]},{"name":"nvme_cont\#
        roller_snapshot_get","mask":"runtime","params":[{"name":"ctrl_id","type":"str","requir\#
        ed":true},{"name":"filename","type":"str","required":true}]},{"name":"nvme_controller_\#
        dbg_io_stats_get","mask":"runtime","params":[{"name":"ctrl_id","type":"str"}]},{"name"\#
        :"nvme_controller_dbg_debug_stats_get","mask":"runtime","params":[{"name":"ctrl_id","t\#
        ype":"str"}]}]}
        """#,
        #"""
        {"family":"snap","methods":[{"name":"softsnap_rdma_resources","mask":"runtime","params\#
        ":[]},{"name":"softsnap_data_path_get","mask":"runtime","params":[]}]}
        """#,
        #"""
        {"family":"snap","methods":[{"name":"softsnap_service_get","mask":"any","params":[]},{\#
        "name":"softsnap_recovery_get","mask":"any","params":[]},{"name":"softsnap_recovery_fo\#
        rget","mask":"runtime","params":[]},{"name":"softsnap_apply","mask":"any","params":[{"\#
        name":"method","type":"str","required":true,"max_count":128},{"name":"params","type":"\#
        object"},{"name":"occurrence","type":"u32","default":1,"min":1,"max":1000000}]}]}
        """#,
        #"""
        {"family":"snap","methods":[{"name":"snap_log_level_set","mask":"runtime","params":[{"\#
        name":"level","type":"u32","required":true,"min":0,"max":5}]},{"name":"snap_global_par\#
        am_list","mask":"runtime","params":[]},{"name":"spdk_bdev_create","mask":"runtime","pa\#
        rams":[{"name":"bdev_name","type":"str","required":true,"aliases":["bdev"]}]},{"name":\#
        "spdk_bdev_destroy","mask":"runtime","params":[{"name":"bdev_name","type":"str","requi\#
        red":true,"aliases":["bdev"]}]},{"name":"bdev_list","mask":"runtime","params":[]}]}
        """#,
        #"""
        {"family":"spdk","methods":[{"name":"sock_get_default_impl","mask":"any","params_error\#
        ":[-32602,"sock_get_default_impl requires no parameters"],"params":[]},{"name":"sock_s\#
        et_default_impl","mask":"startup","decode_error":[-32602,"Invalid parameters"],"params\#
        ":[{"name":"impl_name","type":"str","required":true}]},{"name":"sock_impl_get_options"\#
        ,"mask":"any","decode_error":[-32602,"Invalid parameters"],"params":[{"name":"impl_nam\#
        e","type":"str","required":true}]},{"name":"sock_impl_set_options","mask":"startup","d\#
        ecode_error":[-32602,"Invalid parameters"],"params":[{"name":"impl_name","type":"str",\#
        "required":true},{"name":"recv_buf_size","type":"u32"},{"name":"send_buf_size","type":\#
        "u32"},{"name":"enable_recv_pipe","type":"bool"},{"name":"enable_quickack","type":"boo\#
        l"},{"name":"enable_placement_id","type":"u32"},{"name":"enable_zerocopy_send_server",\#
        "type":"bool"},{"name":"enable_zerocopy_send_client","type":"bool"},{"name":"zerocopy_\#
        threshold","type":"u32"},{"name":"tls_version","type":"u32"},{"name":"enable_ktls","ty\#
        pe":"bool"}]}]}
        """#,
        #"""
        {"family":"snap","methods":[{"name":"virtio_blk_controller_create","mask":"runtime","p\#
        arams":[{"name":"vuid","type":"str"},{"name":"vhca_id","type":"u32"},{"name":"pf_id","\#
        type":"u32"},{"name":"vf_id","type":"u32"},{"name":"pci_bdf","type":"str"},{"name":"ct\#
        rl_id","type":"str"},{"name":"bdev","type":"str"},{"name":"num_queues","type":"u32","m\#
        in":1,"max":65535},{"name":"queue_size","type":"u32","default":256,"min":1,"max":256},\#
        {"name":"size_max","type":"u32","default":4096,"min":1},{"name":"seg_max","type":"u32"\#
        ,"default":1,"min":1},{"name":"vblk_id","type":"str","max_count":20},{"name":"admin_q"\#
        ,"type":"bool","default":false,"aliases":["dbg_admin_q"]},{"name":"dynamic_msix","type\#
        ":"bool","default":false},{"name":"vf_num_msix","type":"u32","min":2},{"name":"force_i\#
        n_order","type":"bool","default":false},{"name":"indirect_desc","type":"bool","default\#
        ":false},{"name":"read_only","type":"bool","default":false},{"name":"suspended","type"\#
        :"bool","default":false},{"name":"live_update_listener","type":"bool","default":false}\#
        ,{"name":"listener_timeout_ms","type":"u32","default":600000,"min":1,"max":86400000},{\#
        "name":"dbg_bdev_type","type":"str","enum":["null"]},{"name":"dbg_local_optimized","ty\#
        pe":"bool","default":false}]},{"name":"virtio_blk_controller_destroy","mask":"runtime"\#
        ,"params":[{"name":"ctrl_id","type":"str","required":true},{"name":"force","type":"boo\#
        l","default":false},{"name":"release_msix","type":"bool","default":false},{"name":"if_\#
        listener","type":"bool","default":false}]},{"name":"virtio_blk_controller_suspend","ma\#
        sk":"runtime","params":[{"name":"ctrl_id","type":"str","required":true},{"name":"timeo\#
        ut_ms","type":"u32"},{"name":"events_only","type":"bool","default":false},{"name":"liv\#
        e_update_notifier","type":"bool","default":false}]},{"name":"virtio_blk_controller_res\#
        ume","mask":"runtime","params":[{"name":"ctrl_id","type":"str","required":true}]},{"na\#
        me":"virtio_blk_controller_bdev_attach","mask":"runtime","params":[{"name":"ctrl_id","\#
        type":"str","required":true},{"name":"bdev","type":"str","required":true},{"name":"vbl\#
        k_id","type":"str","max_count":20},{"name":"dbg_bdev_type","type":"str","enum":["null"\#
        ]}]},{"name":"virtio_blk_controller_bdev_detach","mask":"runtime","params":[{"name":"c\#
        trl_id","type":"str","required":true}]},{"name":"virtio_blk_controller_list","mask":"r\#
        untime","params":[{"name":"ctrl_id","type":"str"}]},{"name":"virtio_blk_controller_mod\#
        ify","mask":"runtime","params":[{"name":"ctrl_id","type":"str","required":true},{"name\#
        ":"num_queues","type":"u32","min":1,"max":65535},{"name":"num_msix","type":"u32","min"\#
        :2}]},{"name":"virtio_blk_controller_dbg_io_stats_get","mask":"runtime","params":[{"na\#
        me":"ctrl_id","type":"str"}]},{"name":"virtio_blk_controller_dbg_debug_stats_get","mas\#
        k":"runtime","params":[{"name":"ctrl_id","type":"str"}]}]}
        """#,
    ]
}
