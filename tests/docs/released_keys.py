"""All that PRISM's released scripts set, by the heading of docs/coming_from.md that must have it.

From scripts/train/ and scripts/eval/ at commit 54a8ec1. ``actor_rollout_ref.`` is left out, as on the page.
"""

RELEASED = {
    "The mixture: create_moe.sh": """
        PRISM_ROOT DENSE_MODEL OUTPUT_MOE_DIR NUM_EXPERTS NUM_EXPERTS_PER_TOK NOISE_STD
    """,
    "The warm-up: train_moe_warmup.sh": """
        PRISM_ROOT MOE_MODEL_PATH PROCESSOR_PATH DATA_PATH IMAGE_BASE_PATH OUTPUT_DIR MAX_LENGTH BATCH_SIZE LEARNING_RATE
        NUM_EPOCHS GRADIENT_ACCUMULATION_STEPS WARMUP_RATIO GRADIENT_CHECKPOINTING SEED NUM_PROCESSES
    """,
    "Alignment: qwen3_vl_prism.sh": """
        algorithm.adv_estimator algorithm.use_acc_gating algorithm.use_gated_align algorithm.use_rlvr algorithm.use_rlvr_v2
        algorithm.use_sign_align algorithm.caption_weight algorithm.format_penalty algorithm.cot_weight
        algorithm.kl_ctrl.kl_coef
        data.prompt_key data.train_files data.val_files data.train_batch_size data.max_prompt_length
        data.max_response_length data.filter_overlong_prompts data.truncation
        model.path model.use_remove_padding model.enable_gradient_checkpointing
        actor.optim.lr actor.ppo_mini_batch_size actor.ppo_micro_batch_size_per_gpu actor.use_dynamic_bsz
        actor.ppo_max_token_len_per_gpu actor.use_kl_loss actor.entropy_coeff actor.kl_loss_coef actor.kl_loss_type
        actor.ulysses_sequence_parallel_size actor.fsdp_config.param_offload actor.fsdp_config.optimizer_offload
        rollout.tensor_model_parallel_size rollout.name rollout.log_prob_micro_batch_size_per_gpu rollout.temperature
        rollout.gpu_memory_utilization rollout.n rollout.max_num_batched_tokens rollout.enforce_eager
        rollout.free_cache_engine
        ref.fsdp_config.param_offload ref.log_prob_micro_batch_size_per_gpu
        critic.model.path critic.model.tokenizer_path critic.model.enable_gradient_checkpointing critic.optim.lr
        critic.use_mm_gad critic.score_clip critic.use_score_length_correction critic.score_reg_coef
        critic.ppo_micro_batch_size_per_gpu critic.model.use_remove_padding critic.ppo_max_token_len_per_gpu
        critic.model.fsdp_config.param_offload critic.model.fsdp_config.optimizer_offload
        trainer.val_before_train trainer.critic_warmup trainer.logger trainer.project_name trainer.experiment_name
        trainer.n_gpus_per_node trainer.nnodes trainer.save_freq trainer.total_training_steps trainer.default_local_dir
        trainer.test_freq trainer.default_hdfs_dir trainer.rollout_data_dir
    """,
    "RLVR: qwen3_vl_{grpo,dapo,gspo}_after_prism.sh": """
        algorithm.adv_estimator algorithm.use_kl_in_reward algorithm.kl_ctrl.kl_coef
        algorithm.filter_groups.enable algorithm.filter_groups.metric algorithm.filter_groups.max_num_gen_batches
        data.gen_batch_size data.shuffle
        actor.policy_loss.loss_mode actor.clip_ratio_low actor.clip_ratio_high actor.clip_ratio_c actor.grad_clip
        actor.loss_agg_mode actor.entropy_checkpointing actor.entropy_coeff actor.use_kl_loss actor.kl_loss_coef
        actor.kl_loss_type actor.optim.lr_warmup_steps actor.optim.lr_warmup_steps_ratio actor.optim.weight_decay
        ref.log_prob_use_dynamic_bsz ref.log_prob_max_token_len_per_gpu
        rollout.log_prob_use_dynamic_bsz rollout.log_prob_max_token_len_per_gpu rollout.mode rollout.enable_chunked_prefill
        rollout.top_p rollout.top_k rollout.val_kwargs.temperature rollout.val_kwargs.top_p rollout.val_kwargs.top_k
        rollout.val_kwargs.do_sample rollout.val_kwargs.n
        reward_model.reward_manager reward_model.overlong_buffer.enable reward_model.overlong_buffer.len
        reward_model.overlong_buffer.penalty_factor
        reward_model.reward_kwargs.overlong_buffer_cfg.enable reward_model.reward_kwargs.overlong_buffer_cfg.len
        reward_model.reward_kwargs.overlong_buffer_cfg.penalty_factor reward_model.reward_kwargs.overlong_buffer_cfg.log
        reward_model.reward_kwargs.max_resp_len
        trainer.resume_mode
    """,
    "Evaluation: eval_qwen3vl.sh": """
        MODEL JUDGE_MODEL JUDGE_PORT TENSOR_PARALLEL_SIZE DATA_PARALLEL_SIZE GPU_MEMORY_UTILIZATION BATCH_SIZE CHAT_TEMPLATE
        --tasks --gen_kwargs --use_cache --output_path --log_samples
    """,
}
"""Heading to names, in words."""

ENVIRONMENT = """
    VLLM_USE_FLASHINFER_SAMPLER VLLM_NO_USAGE_STATS VLLM_ATTENTION_BACKEND NCCL_TIMEOUT HF_HOME MOE_MODULE_PATH PYTHONPATH
    TOKENIZERS_PARALLELISM HYDRA_FULL_ERROR WANDB_PROJECT WANDB_API_KEY BASE_DIR EXPERIMENT_NAME MLP_WORKER_* SINGLENODE
"""
"""Variables that all of them set or read."""
